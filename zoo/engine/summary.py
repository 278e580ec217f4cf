"""The layer table of a model: type, output shape and parameters of each convolution, norm, block and classifier."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import nn

from zoo.engine.counts import count_parameters

IMAGE_SHAPE = (3, 32, 32)
MIB = 2**20
BYTES = 4  # the table's sizes are those of float32, whatever a run computes in
# Layers without parameters that only pass on, and boxes that only hold others, are no rows.
_NO_ROWS = (
    nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Identity, nn.Flatten, nn.modules.dropout._DropoutNd,
    torch.jit.ScriptModule,  # takes no hooks
)  # fmt: skip
_NO_ROW_MODULES = ("torch.nn.modules.activation", "torch.nn.modules.pooling")


@dataclass(frozen=True)
class Layer:
    """One row. `output` is the shape for one image; `parameters` are the layer's own, not those of its parts."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class LayerTable:
    """The rows in the order they run, and the totals. Sizes are in MiB of float32."""

    layers: list[Layer]
    parameters: int
    trainable_parameters: int
    input_size: float
    forward_backward_size: float
    parameter_size: float

    @property
    def total_size(self) -> float:
        """Input, activations with their gradients, and parameters."""
        return self.input_size + self.forward_backward_size + self.parameter_size


def layer_table(model: nn.Module, image_shape: tuple[int, int, int] = IMAGE_SHAPE) -> LayerTable:
    """Run one image through `model` and note every layer as it answers; a block comes after its parts.

    The forward and backward size counts each row's output twice, once for its gradient, as torchsummary does.
    """
    layers: list[Layer] = []

    def note(name: str, module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
            layers.append(Layer(name, type(module).__name__, tuple(output.shape[1:]), own))

    handles = [
        module.register_forward_hook(functools.partial(note, name))
        for name, module in model.named_modules()
        if name and not isinstance(module, _NO_ROWS) and type(module).__module__ not in _NO_ROW_MODULES
    ]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, *image_shape))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    parameters, trainable = count_parameters(model)
    return LayerTable(
        layers=layers,
        parameters=parameters,
        trainable_parameters=trainable,
        input_size=math.prod(image_shape) * BYTES / MIB,
        forward_backward_size=2 * sum(math.prod(layer.output) for layer in layers) * BYTES / MIB,
        parameter_size=parameters * BYTES / MIB,
    )
