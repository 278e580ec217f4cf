"""Learning rates at points worked out by hand, parameter groups, and the plateau scheduler's patience."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from zoo.engine.optim import lr_factor, make_optimizer, make_plateau, set_lr
from zoo.errors import MachineError
from zoo.recipes.schema import SGD, AdamW, Constant, Cosine, Muon, OneCycle, Plateau, Step

CONSTANT = Constant(name="constant", warmup_epochs=2)
COSINE = Cosine(name="cosine", warmup_epochs=4, final_factor=0.1)
ONE_CYCLE = OneCycle(name="one_cycle", peak_epoch=4, initial_factor=0.2, final_factor=0.0)
STEP = Step(name="step", warmup_epochs=2, milestones=[5, 8], factor=0.1)
PLATEAU = Plateau(name="plateau", warmup_epochs=2, factor=0.2, patience=2, threshold=1e-4)


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        (CONSTANT, {0: 0, 0.5: 0.25, 1: 0.5, 2: 1, 9.99: 1}),
        (PLATEAU, {0: 0, 0.5: 0.25, 1: 0.5, 2: 1, 9.99: 1}),
        # 4 epochs up, then 6 down: half way at 7, where the cosine is 0 and the factor the mean of 1 and 0.1.
        (COSINE, {0: 0, 1: 0.25, 4: 1, 6: 0.1 + 0.9 * 0.75, 7: 0.55, 8: 0.1 + 0.9 * 0.25, 10: 0.1}),
        # 0.2 to 1 in 4 epochs, then to 0 in 6.
        (ONE_CYCLE, {0: 0.2, 1: 0.4, 2: 0.6, 4: 1, 7: 0.5, 8.5: 0.25, 10: 0}),
        (STEP, {0: 0, 1: 0.5, 2: 1, 4.999: 1, 5: 0.1, 7.999: 0.1, 8: 0.01, 9.9: 0.01}),
    ],
)
def test_factor_by_hand(schedule: object, points: dict[float, float]) -> None:
    assert {epoch: lr_factor(schedule, epoch, 10) for epoch in points} == pytest.approx(points)


@pytest.mark.parametrize("schedule", [CONSTANT, COSINE, ONE_CYCLE, STEP, PLATEAU], ids=lambda schedule: schedule.name)
def test_factor_is_continuous_but_for_the_steps(schedule: object) -> None:
    epochs = np.linspace(0, 9.9999, 10_001)
    factors = np.array([lr_factor(schedule, float(epoch), 10) for epoch in epochs])
    jumps = epochs[1:][np.abs(np.diff(factors)) > 0.002]
    assert jumps == pytest.approx([5, 8] if schedule is STEP else [], abs=0.002)
    assert factors.min() >= 0
    assert factors.max() == pytest.approx(1, abs=1e-3)


def test_no_warm_up_starts_at_the_peak() -> None:
    for schedule in (CONSTANT, COSINE, STEP, PLATEAU):
        assert lr_factor(schedule.model_copy(update={"warmup_epochs": 0.0}), 0.0, 10) == 1.0


SGD_CONFIG = SGD(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, decay_norm_and_bias=False)
ADAMW_CONFIG = AdamW(name="adamw", lr=0.01, betas=(0.8, 0.95), weight_decay=0.02, decay_norm_and_bias=False)

MUON_CONFIG = Muon(
    name="muon", lr=0.1, momentum=0.9, nesterov=True, adamw_lr_scale=0.04, betas=(0.9, 0.95), weight_decay=0.02,
    decay_norm_and_bias=False,
)  # fmt: skip
KINDS = pytest.mark.parametrize("config", [SGD_CONFIG, ADAMW_CONFIG, MUON_CONFIG], ids=lambda config: config.name)


def network() -> nn.Module:
    """Two weights, four vectors, and one weight that is not trained."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2), nn.Linear(2, 2, bias=False))
    model[3].weight.requires_grad_(False)
    return model


@KINDS
def test_decay_does_not_reach_norms_and_biases(config: SGD | AdamW | Muon) -> None:
    model = network()
    decayed, spared = make_optimizer(model, config).param_groups
    assert [id(p) for p in decayed["params"]] == [id(model[0].weight), id(model[2].weight)]
    assert {id(p) for p in spared["params"]} == {id(p) for p in (model[0].bias, *model[1].parameters(), model[2].bias)}
    assert (decayed["weight_decay"], spared["weight_decay"]) == (config.weight_decay, 0.0)
    assert decayed["lr"] == spared["lr"] == config.lr


@KINDS
def test_decay_reaches_all_where_the_recipe_says_so(config: SGD | AdamW | Muon) -> None:
    (group,) = make_optimizer(network(), config.model_copy(update={"decay_norm_and_bias": True})).param_groups
    assert (len(group["params"]), group["weight_decay"]) == (6, config.weight_decay)


def test_numbers_reach_the_optimizer() -> None:
    sgd, adamw = make_optimizer(network(), SGD_CONFIG), make_optimizer(network(), ADAMW_CONFIG)
    assert isinstance(sgd, torch.optim.SGD)
    assert isinstance(adamw, torch.optim.AdamW)
    assert all(
        (group["momentum"], group["nesterov"], group["dampening"]) == (0.9, True, 0) for group in sgd.param_groups
    )
    assert all(group["betas"] == (0.8, 0.95) for group in adamw.param_groups)


def test_one_step_of_nesterov_by_hand() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    optimizer = make_optimizer(layer, SGD_CONFIG.model_copy(update={"weight_decay": 0.5}))
    layer.weight.grad = torch.ones(1, 1)
    optimizer.step()
    # gradient 1 + 0.5 x 2 = 2; momentum buffer 2; Nesterov 2 + 0.9 x 2 = 3.8; times 0.1
    assert layer.weight.item() == pytest.approx(2 - 0.38)


def test_a_first_step_that_overflows_in_fp16_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)  # what nobody wrote is nan
    layers, answers = [nn.Linear(2, 2, bias=False) for _ in range(2)], []
    layers[1].load_state_dict(layers[0].state_dict())
    torch.use_deterministic_algorithms(True)
    try:
        for layer, overflows in zip(layers, (False, True), strict=True):
            optimizer, scaler = make_optimizer(layer, SGD_CONFIG), torch.amp.GradScaler("cpu", init_scale=4.0)
            for factor in [float("inf")] * overflows + [1.0, 2.0]:
                optimizer.zero_grad()
                scaler.scale((factor * layer(torch.ones(1, 2))).sum()).backward()
                scaler.step(optimizer)
                scaler.update()
            answers.append(layer.weight.detach())
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(*answers)


def test_muon_moves_matrices_by_an_orthogonal_step_and_vectors_as_adam() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 16, 3)
    before = {name: parameter.detach().clone() for name, parameter in layer.named_parameters()}
    optimizer = make_optimizer(layer, MUON_CONFIG.model_copy(update={"weight_decay": 0.0}))
    for gradient in (1e-3, 1e3):  # its size does not matter, its directions do
        with torch.no_grad():
            for name, parameter in layer.named_parameters():
                parameter.copy_(before[name])
        layer.weight.grad, layer.bias.grad = gradient * torch.randn(16, 8, 3, 3), gradient * torch.ones(16)
        optimizer.state.clear()
        optimizer.step()
        step = (before["weight"] - layer.weight).detach().flatten(1) / MUON_CONFIG.lr
        # The nearest orthogonal matrix has singular values of 1; five Newton-Schulz steps come within a few tenths.
        assert torch.linalg.svdvals(step) == pytest.approx(torch.ones(16), abs=0.35)
        u, _, v = torch.linalg.svd(layer.weight.grad.flatten(1), full_matrices=False)
        assert nn.functional.cosine_similarity(step.flatten(), (u @ v).flatten(), dim=0) > 0.98
        # Adam's first step with Nesterov momentum is one to two times its learning rate.
        assert 1 <= ((before["bias"] - layer.bias) / (MUON_CONFIG.lr * MUON_CONFIG.adamw_lr_scale)).mean() < 2


def test_what_muon_does_not_suit_is_adams() -> None:
    layers = {
        "convolution": nn.Conv2d(8, 8, 3, bias=False), "depthwise": nn.Conv2d(8, 8, 3, groups=8, bias=False),
        "head": nn.Linear(512, 10, bias=False), "three classes": nn.Linear(64, 3, bias=False),
        "long": nn.Linear(2048, 10, bias=False),
    }  # fmt: skip
    model = nn.ModuleList(layers.values())
    optimizer = make_optimizer(model, MUON_CONFIG)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    by_adam = {name for name, layer in layers.items() if "exp_avg" in optimizer.state[layer.weight]}
    assert by_adam == {"depthwise", "three classes", "long"}


@pytest.mark.parametrize("kind", [None, type("Muon", (), {"__init__": lambda self, params, lr, adamw_lr: None})])
def test_a_timm_too_old_for_muon(monkeypatch, kind) -> None:
    import timm.optim

    monkeypatch.setattr(timm.optim, "Muon", kind)
    monkeypatch.setattr(timm, "__version__", "1.0.22")
    with pytest.raises(MachineError, match=r"^optimizer muon needs timm 1.0.27 or later, here is 1.0.22"):
        make_optimizer(network(), MUON_CONFIG)


def test_a_schedule_reaches_both_rates_of_muon() -> None:
    moved = []
    for lr in (0.1, 0.05):
        torch.manual_seed(0)
        layer = nn.Linear(8, 8)
        before = [parameter.detach().clone() for parameter in (layer.weight, layer.bias)]
        optimizer = make_optimizer(layer, MUON_CONFIG.model_copy(update={"weight_decay": 0.0}))
        set_lr(optimizer, lr)
        layer.weight.grad, layer.bias.grad = torch.randn(8, 8), torch.randn(8)
        optimizer.step()
        moved.append([(old - new).detach() for old, new in zip(before, (layer.weight, layer.bias), strict=True)])
    for whole, half in zip(*moved, strict=True):
        torch.testing.assert_close(half, whole / 2, rtol=1e-3, atol=1e-7)


def test_plateau_lowers_after_its_patience() -> None:
    optimizer = make_optimizer(network(), SGD_CONFIG)
    plateau = make_plateau(optimizer, PLATEAU)
    rates = []
    for loss in (1.0, 0.5, 0.5, 0.5, 0.5, 0.4999999, 0.4, 0.4, 0.4, 0.4):
        plateau.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    # 0.5 is the best; two more like it are suffered, the third lowers. 0.4999999 is no progress by the threshold.
    assert rates == pytest.approx([0.1] * 4 + [0.02] * 4 + [0.02, 0.004])


def test_set_lr_is_for_every_group() -> None:
    optimizer = make_optimizer(network(), SGD_CONFIG)
    set_lr(optimizer, 0.03)
    assert [group["lr"] for group in optimizer.param_groups] == [0.03, 0.03]
