"""What is said about the device before anything else."""

from __future__ import annotations

import pytest
import torch

BENCH = ("bench", "resnet20_bn", "--recipe", "smoke", "--set", "batch_size=9999")  # ends before it trains
LONG = (*BENCH, "--set", "epochs=400")  # 1,280,000 images


@pytest.mark.parametrize(
    ("command", "built_for", "said"),
    [
        (LONG, "cuda", "this torch is built for CUDA but finds no GPU, and recipe smoke is meant for one: 1,280,000 "),
        (LONG, "xpu", "this torch is built for XPU but finds no GPU, "),
        (LONG, None, None),
        (BENCH, "cuda", None),
        ((*LONG, "--device", "cpu"), "cuda", None),
    ],
)
def test_a_cuda_build_without_a_gpu_is_named_in_the_first_line(
    inline_cli, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], built_for: str | None, said: str | None
) -> None:
    """A notebook whose accelerator was not chosen, before hours of training; not where minutes will do."""

    def current(check_available: bool = False) -> torch.device | None:
        return torch.device(built_for) if built_for and not check_available else None

    monkeypatch.setattr(torch.accelerator, "current_accelerator", current)
    output = inline_cli(*command)
    first, *_ = output.stderr.splitlines()
    assert output.returncode == 2
    assert first.startswith(said or "zoo: recipe 'smoke': batch_size 9999 is more than")
