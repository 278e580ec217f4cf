"""What people use today, each as a function that trains one epoch over the same images with the same ResNet-18.

A peer at its documented defaults is written as its own tutorial has it; a tuned one gets zoo's precision, memory
layout and fused optimizer by hand. All start from the same model and see the same images once, in equal batches.
Workers are kept between epochs everywhere: an epoch here is short, and starting them would count against the peers.

``python peers.py NAME`` is such a peer as documented in a process of its own, as its users run it: what zoo does to the
memory of its process would speed it up.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from processes import answer
from torch import nn
from torch.utils.data import DataLoader, Dataset

from zoo.builder.construct import build
from zoo.engine.machine import configure_threads
from zoo.registry.merge import load_registry

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
WORKERS = 2
BATCH, BATCHES = 128, 3
Epoch = Callable[[], float]  # trains one epoch and gives the seconds that it took


class PerImage(Dataset):
    """(transformed image, label); `transform` takes what the library's own data set would hand to it."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable, pil: bool) -> None:
        self.images, self.labels, self.transform, self.pil = images, labels, transform, pil

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(self.images[index]) if self.pil else self.images[index]
        return self.transform(image), int(self.labels[index])


def torchvision_transform() -> Callable:
    """Of the CIFAR tutorials: pad 4, crop, flip, to tensor, normalise."""
    from torchvision import transforms

    return transforms.Compose([
        transforms.RandomCrop(32, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ])  # fmt: skip


def albumentations_transform() -> Callable:
    """The same by albumentations, its result a tensor."""
    import albumentations as A
    from albumentations.pytorch import ToTensorV2

    compose = A.Compose([
        A.PadIfNeeded(min_height=40, min_width=40), A.RandomCrop(32, 32), A.HorizontalFlip(p=0.5),
        A.Normalize(MEAN, STD), ToTensorV2(),
    ])  # fmt: skip
    return lambda image: compose(image=image)["image"]


def sgd(model: nn.Module, tuned: bool) -> torch.optim.Optimizer:
    """torch's own choice of implementation, or the fused one."""
    fused = True if tuned else None
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, fused=fused)


def loop(model: nn.Module, batches: Callable[[], Iterator], tuned: bool) -> Epoch:
    """The plain loop of every tutorial: SGD with momentum, zero_grad, forward, backward, step, running loss."""
    model = model.train()
    if tuned:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, fused=True if tuned else None
    )
    criterion = nn.CrossEntropyLoss()
    precision = torch.autocast("cpu", torch.bfloat16) if tuned else contextlib.nullcontext()

    def epoch() -> float:
        start, running, seen = time.perf_counter(), 0.0, 0
        for images, labels in batches():
            if tuned:
                images = images.contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            with precision:
                loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
            seen += len(labels)
        print(f"loss {running / seen:.3f}")
        return time.perf_counter() - start

    return epoch


def tutorial(model: nn.Module, images: np.ndarray, labels: np.ndarray, batch: int, tuned: bool) -> Epoch:
    """PyTorch's own CIFAR-10 tutorial: torchvision transforms per image, a DataLoader with two workers."""
    data = PerImage(images, labels, torchvision_transform(), pil=True)
    loader = DataLoader(
        data, batch_size=batch, shuffle=True, num_workers=WORKERS, drop_last=True, persistent_workers=True
    )
    return loop(model, lambda: iter(loader), tuned)


def albumentations(model: nn.Module, images: np.ndarray, labels: np.ndarray, batch: int, tuned: bool) -> Epoch:
    """The same loop with albumentations in the workers."""
    data = PerImage(images, labels, albumentations_transform(), pil=False)
    loader = DataLoader(
        data, batch_size=batch, shuffle=True, num_workers=WORKERS, drop_last=True, persistent_workers=True
    )
    return loop(model, lambda: iter(loader), tuned)


def timm(model: nn.Module, images: np.ndarray, labels: np.ndarray, batch: int, tuned: bool) -> Epoch:
    """timm's create_loader with its fast collate (uint8 batches, normalised on the device)."""
    from timm.data import create_loader

    data = PerImage(images, labels, lambda image: image, pil=True)
    loader = create_loader(
        data, (3, 32, 32), batch, is_training=True, scale=(0.8, 1.0), color_jitter=0.0, mean=MEAN, std=STD,
        num_workers=WORKERS, device=torch.device("cpu"), persistent_workers=True,
    )  # fmt: skip
    return loop(model, lambda: iter(loader), tuned)


def lightning(model: nn.Module, images: np.ndarray, labels: np.ndarray, batch: int, tuned: bool) -> Epoch:
    """Lightning's Trainer, torchvision transforms in two workers; logging and checkpoints off, which favours it."""
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.to(memory_format=torch.channels_last) if tuned else model
            self.criterion = nn.CrossEntropyLoss()

        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
            images, labels = batch
            if tuned:
                images = images.contiguous(memory_format=torch.channels_last)
            return self.criterion(self.model(images), labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return sgd(self, tuned)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = PerImage(images, labels, torchvision_transform(), pil=True)
    loader = DataLoader(
        data, batch_size=batch, shuffle=True, num_workers=WORKERS, drop_last=True, persistent_workers=True
    )
    module = Module()

    def epoch() -> float:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = L.Trainer(
                max_epochs=1, accelerator="cpu", precision="bf16-mixed" if tuned else "32-true", logger=False,
                enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            )  # fmt: skip
            trainer.fit(module, loader)
        return time.perf_counter() - start

    return epoch


PEERS = {"tutorial loop": tutorial, "albumentations loop": albumentations, "timm loader": timm, "Lightning": lightning}


def work() -> tuple[nn.Module, np.ndarray, np.ndarray]:
    """What all train, the same in every process: ResNet-18 with BatchNorm, images and labels of one epoch."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (BATCH * BATCHES, 32, 32, 3), dtype=np.uint8)
    labels = random.integers(0, 10, BATCH * BATCHES)
    torch.manual_seed(0)
    return build(load_registry().resolve("resnet18_bn")), images, labels


if __name__ == "__main__":
    configure_threads()
    answer(PEERS[sys.argv[1]](*work(), BATCH, tuned=False))
