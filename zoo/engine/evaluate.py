"""Evaluation: one pass in order, then every figure from the stored logits."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from zoo.recipes.tta import NO_AUGMENTATION, TestTimeAugmentation
from zoo.utils.device import is_accelerator

AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
ECE_BINS = 15


@dataclass(frozen=True)
class Evaluation:
    """Logits (N, classes) in float32 and labels (N,), both on the CPU, in the order of the split."""

    logits: Tensor
    labels: Tensor

    @property
    def finite(self) -> bool:
        """Whether every logit is a number; if not, the other figures mean nothing."""
        return bool(self.logits.isfinite().all())

    @property
    def predicted(self) -> np.ndarray:
        """The most likely class of each image, (N,)."""
        return self.logits.argmax(1).numpy()

    @property
    def confidence(self) -> np.ndarray:
        """The softmax probability of the predicted class, (N,) float32."""
        return self.logits.softmax(1).amax(1).numpy()

    @property
    def accuracy(self) -> float:
        """Share of images whose most likely class is the label, 0 to 1."""
        return float((self.logits.argmax(1) == self.labels).double().mean())

    @property
    def top5_accuracy(self) -> float | None:
        """Share of images whose label is among the five most likely classes; None for five classes or fewer."""
        if self.logits.shape[1] <= 5:
            return None
        return float((self.logits.topk(5, dim=1).indices == self.labels[:, None]).any(1).double().mean())

    @property
    def brier(self) -> float:
        """Squared error of the probabilities against the label, summed over classes, 0 to 2 (Brier, 1950)."""
        wanted = nn.functional.one_hot(self.labels, self.logits.shape[1])
        return float((self.logits.double().softmax(1) - wanted).square().sum(1).mean())

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats, without label smoothing whatever the recipe trains with."""
        return float(nn.functional.cross_entropy(self.logits.double(), self.labels))

    def confusion(self) -> np.ndarray:
        """(classes, classes) counts: the row is the label, the column the prediction."""
        classes = self.logits.shape[1]
        flat = np.bincount(self.labels.numpy() * classes + self.predicted, minlength=classes * classes)
        return flat.reshape(classes, classes)

    def pairs(self) -> np.ndarray:
        """Label, prediction and count of all pairs of classes that occur, in ascending order: (pairs, 3)."""
        classes = self.logits.shape[1]
        flat, counts = np.unique(self.labels.numpy() * classes + self.predicted, return_counts=True)
        return np.stack([flat // classes, flat % classes, counts], axis=1)

    def recalls(self) -> list[float | None]:
        """The accuracy on the images of each class; None where a class has no image."""
        labels, classes = self.labels.numpy(), self.logits.shape[1]
        images, hits = (np.bincount(some, minlength=classes) for some in (labels, labels[labels == self.predicted]))
        return [hit / count if count else None for hit, count in zip(hits.tolist(), images.tolist(), strict=True)]

    def expected_calibration_error(self, bins: int = ECE_BINS) -> float:
        """Mean gap between confidence and accuracy over equal-width bins of confidence, weighted by their counts.

        Guo et al., "On Calibration of Modern Neural Networks", 2017.
        """
        confidence = self.confidence.astype(np.float64)
        correct = (self.predicted == self.labels.numpy()).astype(np.float64)
        index = np.minimum((confidence * bins).astype(int), bins - 1)
        gaps = np.bincount(index, confidence, bins) - np.bincount(index, correct, bins)
        return float(np.abs(gaps).sum() / len(confidence))


def evaluation_batch(device: torch.device) -> int:
    """Images that are evaluated at once on `device`."""
    return 2048 if is_accelerator(device) else 256


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Mixed precision for the forward pass; nothing for fp32."""
    dtype = AUTOCAST_TYPES.get(precision)
    return torch.autocast(device.type, dtype=dtype) if dtype else contextlib.nullcontext()


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
    precision: str,
    tta: TestTimeAugmentation = NO_AUGMENTATION,
) -> Evaluation:
    """Run `model` in eval mode over `batches` of (B, C, H, W) images and (B,) labels; its mode is put back after.

    The logits are the mean over the `tta` of each image.
    """
    was_training = model.training
    model.eval()
    logits, labels = [], []
    with torch.inference_mode(), autocast(device, precision):
        for images, targets in batches:
            logits.append(tta.logits(model, images))
            labels.append(targets)
    model.train(was_training)
    # The only synchronisation with the device: all logits at once.
    return Evaluation(torch.cat(logits).cpu(), torch.cat(labels).cpu())


class BatchStatistics(nn.Module):
    """A copy of `model` whose layers with running statistics use those of the batch instead; the rest is in eval mode.

    Such a layer is known by a buffer called ``running_mean`` or ``running_var`` (torch's BatchNorm family, zoo's ghost
    batches, batch renormalisation and EvoNorm-B0) and is put into training mode. Every buffer of it is set back before
    each batch, so that no batch learns from the one before. Input and output as those of `model`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        statistics = {"running_mean", "running_var"}
        self.layers = [
            layer for layer in self.model.modules() if statistics & dict(layer.named_buffers(recurse=False)).keys()
        ]
        self.kept = [(buffer, buffer.clone()) for layer in self.layers for buffer in layer.buffers(recurse=False)]

    def train(self, mode: bool = True) -> BatchStatistics:
        """Evaluation mode but for those layers, whatever `mode` asks for."""
        super().train(False)
        for layer in self.layers:
            layer.training = True
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits of `images`, by the statistics of this batch alone."""
        for buffer, value in self.kept:
            buffer.copy_(value)
        logits: Tensor = self.model(images)
        return logits
