"""Whether an export gives the logits of the run, on its test images, and whether its own instructions work."""

from __future__ import annotations

import contextlib
import io
import runpy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.data.datasets import Dataset
from zoo.data.split import stratified_subset
from zoo.engine.evaluate import evaluate, evaluation_batch
from zoo.errors import Option, ResultError
from zoo.export.formats import Exported
from zoo.trained.load import TrainedRun
from zoo.utils.files import scratch_folder, write_new
from zoo.utils.text import named

IMAGES = 512  # at most, and at most so many pixels; each class has its share
PIXELS = 1 << 25
BOUND, SHARE = 1e-4, 1e-5  # a logit's, in fp32, or so much of the largest logit where that is more
SEED = 0  # the same images whatever the run


@dataclass(frozen=True)
class Reference:
    """Test images of a run as an export takes them, (N, 3, H, W) float32 from 0 to 1, and their (N, classes) logits.

    The logits are torch's in fp32, with the run's transforms and memory layout, without test-time augmentation.
    """

    dataset: str
    images: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Check:
    """The result on `images` test images: the largest absolute `difference` of a logit from torch's, and its bound."""

    dataset: str
    images: int
    difference: float
    bound: float = BOUND

    @property
    def line(self) -> str:
        """In words."""
        return (
            f"checked on {self.images:,} {self.dataset} test images: same predictions, logits differ from torch's by "
            f"at most {self.difference:.1e} (bound {self.bound:.0e})"
        )


def reference(run: TrainedRun, data: Dataset) -> Reference:
    """Up to :data:`IMAGES` test images of `data`, the run's own set, evaluated. Raises :class:`ResultError`."""
    device = torch.device("cpu")
    images, labels = data.test.images, data.test.labels
    few = max(1, PIXELS // (images.shape[1] * images.shape[2]))
    rows = stratified_subset(labels, min(IMAGES, len(labels), few), SEED)
    loader = run.loader(images, labels, evaluation_batch(device), device, rows)
    model = run.load(device)
    run.check_size(model, next(iter(loader))[0][:1], data.name)
    evaluation = evaluate(model, loader, device, "fp32")
    if not evaluation.finite:
        raise ResultError(f"{run.folder.path}: an output of the model is not a number, so there is nothing to export")
    pixels = torch.from_numpy(images[rows]).permute(0, 3, 1, 2).contiguous()
    return Reference(data.name, pixels.float() / 255, evaluation.logits)


def check(exported: Exported, wanted: Reference, what: str) -> Check:
    """Run `exported` on one image, then on batches of the others, and compare; `what` is for the message.

    Raises :class:`ResultError` where a logit differs by more than the bound, or a prediction at all.
    """
    parts = [wanted.images[:1], *torch.split(wanted.images[1:], evaluation_batch(wanted.images.device))]
    with torch.enable_grad():  # as a user would
        logits = torch.cat([exported(part.contiguous()).detach() for part in parts if len(part)])
    where = f"{what}: on {len(logits):,} {wanted.dataset} test images"
    if logits.shape != wanted.logits.shape:
        raise ResultError(f"{where} its output is {tuple(logits.shape)}, expected {tuple(wanted.logits.shape)}")
    difference = float((logits - wanted.logits).abs().max())
    bound = max(BOUND, SHARE * float(wanted.logits.abs().max()))
    if not difference <= bound:  # not a number either
        raise ResultError(
            f"{where} its logits differ from torch's by {difference:.1e}, more than {bound:.0e}; nothing is written, "
            "choose another format with ",
            Option("to"),
        )
    if others := int((logits.argmax(1) != wanted.logits.argmax(1)).sum()):
        raise ResultError(f"{where} {others} of its predictions differ from torch's; nothing is written")
    return Check(wanted.dataset, len(logits), difference, bound)


def check_usage(usage: str, files: Mapping[str, bytes], what: str) -> None:
    """Run the Python of the card, `usage`, in a folder with the `files`; `what` is for the message.

    Raises :class:`ResultError` where it fails.
    """
    with scratch_folder("zoo-export") as folder:
        script = folder / "README.md.py"
        for name, content in {**files, script.name: usage.encode()}.items():
            write_new(folder / name, content)
        try:
            with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()), torch.enable_grad():
                runpy.run_path(script.name)
        except Exception as problem:  # of whatever reads the file
            raise ResultError(
                f"{what}: the Python of its README.md fails: {named(problem)}; nothing is written, choose another "
                "format with ",
                Option("to"),
            ) from problem
