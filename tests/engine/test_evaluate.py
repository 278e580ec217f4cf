"""The figures of an evaluation against cases worked out by hand and against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from zoo.engine.evaluate import Evaluation, evaluate
from zoo.recipes import tta

CPU = torch.device("cpu")


def from_probabilities(rows: list[list[float]], labels: list[int]) -> Evaluation:
    return Evaluation(torch.tensor(rows).log(), torch.tensor(labels))


# Confidences 0.9 (right), 0.91 (wrong), 0.6 (right), 0.5 (right): bins 13, 13, 9, 7 of 15.
HAND = from_probabilities(
    [[0.9, 0.05, 0.05], [0.91, 0.05, 0.04], [0.2, 0.6, 0.2], [0.3, 0.2, 0.5]],
    [0, 1, 1, 2],
)


def test_by_hand() -> None:
    assert HAND.predicted.tolist() == [0, 0, 1, 2]
    assert HAND.confidence.tolist() == pytest.approx([0.9, 0.91, 0.6, 0.5])
    assert HAND.accuracy == 0.75
    assert HAND.loss == pytest.approx(-(math.log(0.9) + math.log(0.05) + math.log(0.6) + math.log(0.5)) / 4)
    assert HAND.confusion().tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]  # row: label, column: prediction
    # Bin 13 holds two: confidence 1.81 against 1 hit. The others miss by 0.4 and 0.5.
    assert HAND.expected_calibration_error() == pytest.approx((0.81 + 0.4 + 0.5) / 4)
    # In one bin what is too sure makes up for what is not sure enough: 2.91 against 3 hits.
    assert HAND.expected_calibration_error(bins=1) == pytest.approx(0.09 / 4)


def test_class_that_does_not_occur_keeps_its_place() -> None:
    evaluation = from_probabilities([[0.1, 0.8, 0.1]], [1])
    assert evaluation.confusion().tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_sure_and_right_is_calibrated() -> None:
    evaluation = Evaluation(torch.tensor([[1000.0, 0.0], [0.0, 1000.0]]), torch.tensor([0, 1]))
    assert evaluation.confidence.tolist() == [1.0, 1.0]  # the last bin's upper edge
    assert evaluation.expected_calibration_error() == 0.0
    assert evaluation.loss == 0.0


@pytest.mark.parametrize("bins", [5, 15])
def test_against_plain_loops(bins: int) -> None:
    generator = torch.Generator().manual_seed(bins)
    evaluation = Evaluation(
        torch.randn(500, 10, generator=generator) * 3, torch.randint(10, (500,), generator=generator)
    )
    counts = [[0, 0.0, 0] for _ in range(bins)]
    confusion = [[0] * 10 for _ in range(10)]
    brier, top5 = 0.0, 0
    for row, label in zip(evaluation.logits.double().softmax(1).tolist(), evaluation.labels.tolist(), strict=True):
        confidence = max(row)
        predicted = row.index(confidence)
        confusion[label][predicted] += 1
        brier += sum((share - (index == label)) ** 2 for index, share in enumerate(row)) / 500
        top5 += sum(share > row[label] for share in row) < 5
        place = counts[min(int(confidence * bins), bins - 1)]
        place[0], place[1], place[2] = place[0] + 1, place[1] + confidence, place[2] + (predicted == label)
    ece = sum(n / 500 * abs(total / n - hits / n) for n, total, hits in counts if n)
    assert evaluation.confusion().tolist() == confusion
    assert evaluation.accuracy == pytest.approx(sum(confusion[i][i] for i in range(10)) / 500)
    assert evaluation.expected_calibration_error(bins) == pytest.approx(ece, abs=1e-6)
    assert evaluation.brier == pytest.approx(brier)
    assert evaluation.top5_accuracy == pytest.approx(top5 / 500)
    assert Evaluation(evaluation.logits[:, :5], evaluation.labels % 5).top5_accuracy is None


class Spy(nn.Module):
    """Answers the first two pixels; notes the mode and the type that it computes in."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2, bias=False)
        nn.init.eye_(self.linear.weight)
        self.seen: list[tuple[bool, torch.dtype, bool]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.linear(x.flatten(1)[:, :2])
        self.seen.append((self.training, out.dtype, torch.is_grad_enabled()))
        return out


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    images = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0]]).view(3, 2, 1, 1)
    return [(images[:2], torch.tensor([0, 0])), (images[2:], torch.tensor([1]))]


@pytest.mark.parametrize("training", [True, False])
def test_one_pass_in_order_with_the_mode_put_back(training: bool) -> None:
    model = Spy().train(training)
    result = evaluate(model, batches(), CPU, "fp32")
    assert result.logits.tolist() == [[2.0, 0.0], [0.0, 2.0], [0.0, 2.0]]
    assert result.labels.tolist() == [0, 0, 1]
    assert result.accuracy == pytest.approx(2 / 3)
    assert model.seen == [(False, torch.float32, False)] * 2
    assert model.training is model.linear.training is training


def test_mirror_is_the_mean_over_the_image_and_its_mirror_image() -> None:
    class LeftPixels(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :, 0, 0]

    images = torch.tensor([[[[1.0, 5.0]], [[2.0, -4.0]]]])  # (1, 2, 1, 2): two channels of two pixels
    found = evaluate(LeftPixels(), [(images, torch.tensor([0]))], CPU, "fp32", tta.TestTimeAugmentation(mirror=True))
    assert found.logits.tolist() == [[3.0, -1.0]]
    assert evaluate(LeftPixels(), [(images, torch.tensor([0]))], CPU, "fp32").logits.tolist() == [[1.0, 2.0]]


def test_shifts_are_weighted_moves_along_a_diagonal_with_reflected_edges() -> None:
    class Pixel(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :, 0, 1]

    image = torch.tensor([[[[0.0, 1.0, 9.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]]])
    batch = [(image, torch.tensor([0]))]
    # Itself 1; to the lower right the pixel shows row -1, reflected to 1, of column 0: 3; to the upper left 5.
    assert evaluate(Pixel(), batch, CPU, "fp32", tta.TestTimeAugmentation(shift=1)).logits.tolist() == [
        [0.5 * 1 + 0.25 * 3 + 0.25 * 5]
    ]
    # By 2: row -2 is row 2, column -1 is column 1: 7; row 2, column 3 is column 1: 7.
    assert evaluate(Pixel(), batch, CPU, "fp32", tta.TestTimeAugmentation(shift=2)).logits.tolist() == [
        [0.5 * 1 + 0.5 * 7]
    ]
    wide = [(torch.tensor([[[[0.0, 1.0, 9.0, 2.0], [3.0, 4.0, 5.0, 6.0]]]]), torch.tensor([0]))]
    # Itself 1, mirrored 9; to the lower right 3, mirrored column 1: 4; to the upper left 5, mirrored column 3: 6.
    found = evaluate(Pixel(), wide, CPU, "fp32", tta.TestTimeAugmentation(mirror=True, shift=1)).logits
    assert found.tolist() == [[0.5 * (1 + 9) / 2 + 0.25 * (3 + 4) / 2 + 0.25 * (5 + 6) / 2]]


def test_a_model_that_views_its_images_flat_sees_the_moved_ones_too() -> None:
    class Flat(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(len(x), -1)[:, :2]

    for views in (tta.TestTimeAugmentation(), tta.TestTimeAugmentation(True), tta.TestTimeAugmentation(True, 1)):
        assert evaluate(Flat(), [(torch.ones(2, 1, 3, 3), torch.zeros(2))], CPU, "fp32", views).logits.unique() == 1


def test_words_for_views() -> None:
    assert tta.TestTimeAugmentation().words is None
    assert tta.TestTimeAugmentation(mirror=True).words == "mean over each image and its mirror image"
    assert tta.TestTimeAugmentation(shift=1).words == "mean over each image and itself moved 1 px along a diagonal"
    assert (
        tta.TestTimeAugmentation(True, 2).words
        == "mean over each image, its mirror image and both moved 2 px along a diagonal"
    )
    assert tta.TestTimeAugmentation.of(
        {"mirror_evaluation": True, "shifted_evaluation": 1}
    ) == tta.TestTimeAugmentation(True, 1)
    assert tta.TestTimeAugmentation.of({}) == tta.TestTimeAugmentation()
    assert [tta.TestTimeAugmentation(*given).passes for given in ((), (True,), (False, 1), (True, 1))] == [1, 2, 3, 6]


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_precision_computes_in_half_and_answers_in_single(precision: str, dtype: torch.dtype) -> None:
    model = Spy()
    result = evaluate(model, batches(), CPU, precision)
    assert {seen[1] for seen in model.seen} == {dtype}
    assert result.logits.dtype is torch.float32
