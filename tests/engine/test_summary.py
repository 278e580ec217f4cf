"""The layer table: the reference experiment's own, and the same rules for other models."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from zoo.builder.construct import build
from zoo.engine.summary import layer_table
from zoo.registry.entries import read_registry_file
from zoo.registry.merge import Registry
from zoo.registry.model import BUILT_IN

REGISTRY = Registry([read_registry_file(BUILT_IN, "built in")])


def made(name: str) -> nn.Module:
    return build(REGISTRY.resolve(name))


def test_reference_model() -> None:
    table = layer_table(made("resnet18_ln"))
    assert len(table.layers) == 49
    # 20 convolutions and norms (stem, 16 in blocks, 3 in shortcuts), 8 blocks, the classifier
    kinds = Counter(layer.kind for layer in table.layers)
    assert (kinds["Conv2d"], kinds["GroupNorm"], kinds["Linear"]) == (20, 20, 1)
    assert sorted(kinds.values()) == [1, 8, 20, 20]
    assert (table.parameters, table.trainable_parameters) == (11_173_962, 11_173_962)
    sizes = (table.input_size, table.forward_backward_size, table.parameter_size, table.total_size)
    assert [f"{size:.2f}" for size in sizes] == ["0.01", "11.25", "42.63", "53.89"]
    first, last = table.layers[0], table.layers[-1]
    assert (first.kind, first.output, first.parameters) == ("Conv2d", (64, 32, 32), 3 * 64 * 9)
    assert (last.kind, last.output, last.parameters) == ("Linear", (10,), 512 * 10 + 10)


def test_block_comes_after_its_parts_and_has_no_parameters_of_its_own() -> None:
    layers = layer_table(made("resnet20_bn")).layers
    place = {layer.name: i for i, layer in enumerate(layers)}
    assert place["layer1.0.conv1"] < place["layer1.0.norm2"] < place["layer1.0"] < place["layer1.1.conv1"]
    assert layers[place["layer1.0"]].parameters == 0
    assert layers[place["layer2.0"]].output == (32, 16, 16)


@pytest.mark.parametrize("name", ["resnet20_bn", "mobilenetv2_frn"])
def test_rows_add_up_to_torchs_own_count(name: str) -> None:
    model = made(name)
    table = layer_table(model)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert sum(layer.parameters for layer in table.layers) == table.parameters == count
    assert table.parameter_size == count * 4 / 2**20


def test_frozen_parameters_are_not_trainable() -> None:
    model = made("resnet20_bn")
    model.fc.requires_grad_(False)
    table = layer_table(model)
    assert table.parameters - table.trainable_parameters == 64 * 10 + 10


def test_sizes_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5))
    table = layer_table(model, (3, 4, 4))
    assert [(layer.kind, layer.output, layer.parameters) for layer in table.layers] == [
        ("Conv2d", (8, 4, 4), 224),
        ("Linear", (5,), 645),
    ]
    assert table.input_size * 2**20 == 3 * 4 * 4 * 4
    assert table.forward_backward_size * 2**20 == 2 * (8 * 4 * 4 + 5) * 4


@pytest.mark.parametrize("training", [True, False])
def test_model_is_left_as_it_was(training: bool) -> None:
    model = made("resnet20_bn").train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    layer_table(model)
    assert model.training is training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_part_that_is_compiled_has_no_row() -> None:
    compiled = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    table = layer_table(nn.Sequential(compiled, nn.Conv2d(4, 2, 1)))
    assert [layer.name for layer in table.layers] == ["1"]
    assert table.parameters == 3 * 4 * 9 + 4 + 4 * 2 + 2
