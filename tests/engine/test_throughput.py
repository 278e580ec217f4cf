"""The loop against its ceiling: a loader that keeps up costs nothing, one that does not is seen."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo.data.loader import Batching, TrainLoader
from zoo.engine import throughput
from zoo.engine.throughput import TYPES, Training, matrix_peak, measure_training
from zoo.errors import ZooError
from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import Recipe
from zoo.utils.distributed import SINGLE_PROCESS

CPU = torch.device("cpu")
RECIPE = load_recipe("smoke", ["precision=fp32", "batch_size=8"])


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10)).eval()


class Slow(TrainLoader):
    """Each batch takes `delay` seconds more."""

    delay = 0.0

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in super().epoch(epoch):
            time.sleep(self.delay)
            yield batch


def measured(
    delay: float, recipe: Recipe = RECIPE, scale: float = 1.0, model: nn.Sequential | None = None
) -> tuple[Training, nn.Module]:
    images = np.random.default_rng(0).integers(0, 256, (4000, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(4000, dtype=np.int64) % 10
    transforms = [{"Normalize": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}}]

    def loader(count: int) -> TrainLoader:
        indices = np.resize(np.arange(4000), count)
        made = Slow(images, labels, transforms, Batching(8, 0, SINGLE_PROCESS), indices=indices)
        made.delay = delay
        return made

    if model is None:
        model = network()
        model(torch.zeros(1, 3, 16, 16))  # the lazy layer takes its size
        model[1].weight.data *= scale
    found = measure_training(model, recipe, loader, device=CPU, layout="nchw", compiled=False, seconds=0.5)
    return found, model


def test_loop_and_step_are_of_the_same_order_and_the_model_is_left_alone() -> None:
    found, model = measured(0.0)
    assert 0.3 < found.efficiency < 1.5  # a tiny step on a busy machine: the committed benchmark says how near to 1
    assert found.windows >= 19
    assert found.executor == "batched"
    assert found.compile_seconds is None
    assert found.device_peak_bytes is None
    assert found.resident_peak_bytes > 2**24
    fresh = network()
    fresh(torch.zeros(1, 3, 16, 16))
    assert not model.training
    assert int(model[1].num_batches_tracked) == 0
    assert torch.equal(model[0].weight, fresh[0].weight)


def test_a_loader_that_starves_the_loop_is_seen() -> None:
    found, _ = measured(0.01)
    assert found.efficiency < 0.5
    assert found.train_images_per_second < 8 / 0.01
    assert found.step_images_per_second > 2 * found.train_images_per_second


def test_a_learning_rate_that_diverges_is_measured_all_the_same() -> None:
    found, _ = measured(0.0, load_recipe("smoke", ["precision=fp32", "batch_size=8", "optimizer.lr=1e30"]))
    assert found.windows >= 19


def test_a_loss_that_is_no_number_from_the_start_is_one_line() -> None:
    with pytest.raises(ZooError, match="the loss is not a number"):
        measured(0.0, scale=float("nan"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_matrix_peak(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    monkeypatch.setattr(throughput, "PEAK_SIDE", 256)
    assert precision in TYPES
    assert 1e8 < matrix_peak(CPU, precision) < 1e15


def test_a_model_that_keeps_maps_and_has_a_compiled_part() -> None:
    compiled = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    pool = nn.AdaptiveAvgPool2d(1)
    maps: list[Tensor] = []
    vars(pool)["kept"] = maps
    pool.register_forward_hook(lambda pool, images, output: maps.append(output))
    found, _ = measured(0.0, model=nn.Sequential(compiled, pool, nn.Flatten(), nn.Linear(4, 10)))
    assert found.windows >= 19
