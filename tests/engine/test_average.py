"""Averages of the weights against their definitions, and what they leave alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from zoo.engine.average import Ema, Lookahead, make_average
from zoo.errors import RecipeError
from zoo.recipes.load import load_recipe

SETTING = "lookahead={every: 3, decay: 0.9, power: 2}"


def made(model: nn.Module) -> Lookahead:
    average = make_average(model, load_recipe("smoke", [SETTING]))
    assert isinstance(average, Lookahead)
    return average


def test_slow_weights_follow_and_the_trained_ones_jump_to_them() -> None:
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1))
    average = made(model)
    weight = model[0].weight
    slow_weight = weight.detach().clone()
    for step in range(1, 13):
        with torch.no_grad():
            weight += step
        model[1].num_batches_tracked += 1
        before = weight.detach().clone()
        average.update(step / 12)
        kept = average.evaluated[0].weight
        if step % 3:
            assert torch.equal(weight, before)
            assert torch.equal(kept, slow_weight)  # what counts are the slow ones
            continue
        stays = 0.9**3 * (step / 12) ** 2
        slow_weight = stays * slow_weight + (1 - stays) * before
        assert torch.allclose(weight, slow_weight)
        assert torch.equal(kept, weight)
        slow_weight = kept.detach().clone()
    assert model[1].num_batches_tracked == average.evaluated[1].num_batches_tracked == 12  # counted, not averaged


def test_running_statistics_take_part() -> None:
    model = nn.BatchNorm1d(1)
    average = made(model)
    for _ in range(3):
        model.running_mean += 1
        average.update(1.0)
    stays = 0.9**3
    assert torch.allclose(model.running_mean, torch.tensor([3 * (1 - stays)]))


def test_a_saved_state_goes_on_where_it_was() -> None:
    def steps(model: nn.Module, average: Lookahead, numbers: range) -> None:
        for number in numbers:
            with torch.no_grad():
                model.weight += number
            average.update(number / 10)

    torch.manual_seed(0)
    whole = nn.Linear(3, 3)
    part = nn.Linear(3, 3)
    part.load_state_dict(whole.state_dict())
    one = made(whole)
    steps(whole, one, range(1, 11))
    first = made(part)
    steps(part, first, range(1, 6))
    again = nn.Linear(3, 3)
    again.load_state_dict(part.state_dict())
    second = made(again)
    second.load_state_dict(first.state_dict())
    steps(again, second, range(6, 11))
    assert torch.equal(again.weight, whole.weight)
    assert torch.equal(second.evaluated.weight, one.evaluated.weight)


def test_moving_average_follows_its_definition_and_torch() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = make_average(model, load_recipe("smoke", ["ema.decay=0.75"]))
    assert isinstance(average, Ema)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.75), use_buffers=True)
    expected = None
    for step in range(1, 8):
        with torch.no_grad():
            model[0].weight += torch.randn(2, 3)
        model(torch.randn(4, 3))  # moves the running statistics
        now = model[0].weight.detach().clone()
        expected = now if expected is None else 0.75 * expected + 0.25 * now
        average.update(step / 8)
        theirs.update_parameters(model)
        torch.testing.assert_close(average.evaluated[0].weight, expected)
    for name, mine in average.evaluated.state_dict().items():
        same = model if name.endswith("tracked") else theirs.module  # a count is copied
        assert torch.equal(mine, same.state_dict()[name]), name
    again = make_average(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), load_recipe("smoke", ["ema.decay=0.75"]))
    again.load_state_dict(average.state_dict())
    again.model.load_state_dict(model.state_dict())
    for one in (average, again):
        one.update(1.0)
    for name, mine in average.evaluated.state_dict().items():
        assert torch.equal(mine, again.evaluated.state_dict()[name]), name


def test_two_averages_at_once_are_refused() -> None:
    with pytest.raises(RecipeError, match="ema and lookahead both average the weights; set one of them to null"):
        load_recipe("smoke", ["ema.decay=0.9", SETTING])


def test_off_leaves_no_trace_in_the_fingerprint() -> None:
    assert "lookahead" not in load_recipe("smoke").canonical()
    plain, other = load_recipe("smoke").canonical(), load_recipe("smoke", [SETTING]).canonical()
    assert (plain["harness"], other["harness"]) == (1, 2)  # it was the trained weights that counted once
    assert load_recipe("smoke", [SETTING]).fingerprint != load_recipe("smoke").fingerprint
    assert load_recipe("smoke", [SETTING, "lookahead=null"]).fingerprint == load_recipe("smoke").fingerprint


@pytest.mark.parametrize("setting", ["ema={decay: 0.9}", SETTING])
def test_an_average_of_what_is_not_finite_is_a_copy(setting: str) -> None:
    class Ranges(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("low", torch.tensor([float("inf"), 2.0]))
            self.register_buffer("constant", torch.tensor(float("-inf")))

    model = Ranges()
    average = make_average(model, load_recipe("smoke", [setting]))
    assert average is not None
    for step in range(1, 7):
        model.low.copy_(torch.tensor([1.0, 2.0]))
        average.update(step / 6)
    assert torch.allclose(average.evaluated.low, torch.tensor([1.0, 2.0]))
    assert torch.equal(average.evaluated.constant, torch.tensor(float("-inf")))


def test_complex_weights_are_averaged() -> None:
    model = nn.ParameterList([nn.Parameter(torch.zeros(2, dtype=torch.cfloat))])
    average = make_average(model, load_recipe("smoke", ["ema={decay: 0.75}"]))
    assert average is not None
    average.update(0.5)
    with torch.no_grad():
        model[0] += 4j
    average.update(1.0)
    assert torch.equal(average.evaluated[0], torch.full((2,), 1j))
