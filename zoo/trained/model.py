"""A trained model as Python uses it: its module, and what makes the module's input of images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from zoo.data.listing import Size
from zoo.data.loader import EvalLoader
from zoo.engine.evaluate import evaluate, evaluation_batch
from zoo.engine.machine import exact_float32
from zoo.errors import DataError
from zoo.results.schema import Finished
from zoo.trained.load import TrainedRun
from zoo.trained.predict import fitted, image_size
from zoo.utils.text import named

Images = Image.Image | np.ndarray | Iterable[Image.Image | np.ndarray]


@dataclass(frozen=True, repr=False)
class TrainedModel:
    """The trained `module` of a stored `run`, in evaluation mode on the `device`.

    Images are those of Pillow, one or several, or arrays of uint8, (H, W, 3) or (N, H, W, 3), of any size.
    """

    run: TrainedRun
    module: nn.Module
    device: torch.device

    def __repr__(self) -> str:
        result = self.result
        where = f"recipe {result.recipe.slug} on {result.dataset.name}"
        return f"<{result.model.name} seed {result.seed}, {where}: test accuracy {100 * result.test.accuracy:.2f} %>"

    @property
    def result(self) -> Finished:
        """What is stored of the run."""
        return self.run.result

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the logits."""
        return self.result.dataset.classes

    @cached_property
    def size(self) -> Size | None:
        """(height, width) that images are resized to; None where the recipe's own transforms do that."""
        return image_size(self.run)

    def preprocess(self, images: Images) -> Tensor:
        """The input of `module`, (N, C, H, W) on the device: images as ``zoo predict`` resizes and transforms them.

        Raises :class:`DataError` for what is no image.
        """
        return torch.cat([batch for batch, _ in self._batches(images)])

    def __call__(self, images: Images) -> Tensor:
        """The logits (N, classes) of `images`, float32 on the CPU, in the precision and with the views of the run's
        test. Raises as :meth:`preprocess` does.
        """
        exact_float32()  # as when the run was tested
        return evaluate(self.module, self._batches(images), self.device, self.run.precision, self.run.tta).logits

    def _batches(self, images: Images) -> EvalLoader:
        if isinstance(images, Image.Image) or (isinstance(images, np.ndarray) and images.ndim == 3):
            images = [images]
        whole = self.result.recipe.image_size is not None
        try:
            pictures = [part if isinstance(part, Image.Image) else Image.fromarray(part) for part in images]
            pixels = np.stack([fitted(picture.convert("RGB"), self.size, whole)[0] for picture in pictures])
        except (TypeError, ValueError, AttributeError) as problem:
            raise DataError(
                f"no images: {named(problem)}; give images of Pillow, or uint8 arrays (H, W, 3) or (N, H, W, 3)"
            ) from problem
        labels = np.zeros(len(pixels), np.int64)
        return self.run.loader(pixels, labels, evaluation_batch(self.device), self.device)
