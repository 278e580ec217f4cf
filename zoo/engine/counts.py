"""The size of a model: parameters, multiply-accumulates, activation memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from zoo.engine.evaluate import autocast
from zoo.utils.seeding import same_random_numbers, seed_all


class _Untracked(ModuleTracker):
    """Where an operation counts is not asked: torch's own tracker fails on a parameter that is a module's input."""

    def __enter__(self) -> ModuleTracker:
        return self

    def __exit__(self, *args: object) -> None:
        pass


def count_macs(model: nn.Module, image_shape: tuple[int, int, int], device: torch.device) -> int:
    """Multiply-accumulates of one image's forward pass: convolutions and matrix products by torch's FLOP counter.

    It does not know every fused kernel of attention, and which is taken depends on the device: here none is.
    """
    was_training, fused = model.training, torch.backends.mha.get_fastpath_enabled()
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _Untracked()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            model(torch.zeros(1, *image_shape, device=device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    model.train(was_training)
    return int(counter.get_total_flops()) // 2


def count_activation_bytes(
    model: nn.Module, image_shape: tuple[int, int, int], device: torch.device, precision: str
) -> int:
    """Bytes that autograd keeps between one image's forward and backward pass: what a norm costs in training memory.

    Each storage counts once. The difference of two batches leaves out what does not grow with the batch (weights). Both
    draw the same random numbers, so that a network of random depth skips the same layers.
    `model` is trained no further: it stays in training mode, and its statistics are of these batches.
    """
    model.train()
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}

    def kept(batch: int, constant: bool = True) -> int:
        sizes: dict[int, int] = {}

        def count(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        images = torch.zeros(batch, *image_shape, device=device)
        hooks = torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor)
        with same_random_numbers(), hooks, autocast(device, precision):
            seed_all(0)
            loss = model(images).sum()  # keeps the graph, so that no storage is given out twice while it is counted
        del loss
        return sum(size for place, size in sizes.items() if constant or place not in weights)

    def of_an_image(batch: int) -> int:
        grown = kept(2 * batch) - kept(batch)
        # Dropout draws more numbers for more images: what is random after it then skips other layers.
        return grown // batch if grown >= 0 else kept(batch, constant=False) // batch

    try:
        return of_an_image(2)
    except RuntimeError:  # a layer that needs more images, such as a BatchNorm of parts of the batch
        return of_an_image(32)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """All parameters, and those that are trained."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)
