"""Devices beside CPU and CUDA: what their steps give is held against the CPU's. The device is a pretended one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pretended_device import zoo_on_it

# It ends once the device is chosen.
CHOOSES = "bench resnet20_bn --recipe smoke --set batch_size=9999"
TINY = "--recipe smoke --set epochs=1 --set split.train=320 --set split.holdout=64"
WRONG = "resnet20_bn: on pretend the gradient of 'norm1.weight' (fp32) is off from the CPU's by "

pytestmark = pytest.mark.skipif(
    not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch has no backends in Python",
)


def test_an_apple_gpu_is_taken_only_where_its_gradients_are_the_cpus(tmp_path: Path) -> None:
    """And is for NCHW alone, never compiled, without float64. A GPU without bf16 trains in fp16, and zoo says so."""
    _, (wrong, asked_for, sound, compiled, layout, auto_compiled) = zoo_on_it(
        tmp_path,
        f"trial wrong -- {CHOOSES}",
        f"wrong -- {CHOOSES} --device pretend",
        f"trial nchw wrong_channels_last single shared no_bf16 -- {CHOOSES}",
        f"nchw -- {CHOOSES} --device pretend --compile",
        f"nchw -- {CHOOSES} --device pretend --layout channels_last",
        f"trial nchw -- {CHOOSES} --compile",
    )
    first, *_ = wrong.splitlines()
    assert first.startswith(f"the CPU is used, since the pretended GPU computes otherwise: {WRONG}")
    assert asked_for.startswith(f"zoo: --device pretend: {WRONG}")
    assert asked_for.endswith("times its length; use --device cpu\nexit code 2")
    assert sound.startswith("Pretended P1 has no bf16: `precision: auto` is fp16 with loss scaling here\nzoo: recipe")
    assert compiled.startswith("zoo: --compile: torch compiles LayerNorm wrongly for pretended GPUs; leave it out\n")
    assert layout.startswith(
        "zoo: --layout channels_last: torch's gradients are wrong in it on pretend; leave it out\n"
    )
    assert auto_compiled.startswith("the CPU is used, since --compile computes wrongly on pretend\n")


@pytest.mark.slow
def test_a_bench_on_an_accelerator_without_float64_and_memory_of_its_own(tmp_path: Path) -> None:
    """From the trial to the stored result, and every command that opens it."""
    kinds = "trial nchw wrong_channels_last single shared"
    run = "runs/shapes10/*/resnet20_bn/seed0"
    _, (bench, _) = zoo_on_it(
        tmp_path, f"{kinds} -- bench resnet20_bn {TINY}", f"-- bench resnet20_bn {TINY} --runs of-cpu"
    )
    (folder,), (of_cpu,) = tmp_path.glob(run), tmp_path.glob(run.replace("runs", "of-cpu"))
    stored = json.loads((folder / "result.json").read_text())
    assert bench.endswith("exit code 0")
    assert (stored["settings"]["device"], stored["settings"]["layout"]) == ("pretend", "nchw")
    assert (stored["environment"]["gpu"], stored["speed"]["peak_memory_bytes"]) == ("Pretended P1", None)

    other = f"--device pretend --registry {Path(__file__).parents[2] / 'registry.yaml'}"
    ended = zoo_on_it(
        tmp_path,
        f"{kinds} -- evaluate {folder} {other}",
        f"{kinds} -- explain {folder} {other} --out explained",
        f"{kinds} -- explain {of_cpu} {other} --out explained-too",  # which was trained in channels-last
    )[1]
    assert all(text.endswith("exit code 0") for text in ended), ended
    assert not any("differ" in text for text in ended[:2])


@pytest.mark.slow
def test_device_mib_has_the_same_share_of_images_whatever_the_speed(tmp_path: Path) -> None:
    """None: neither those that are resident nor those that are augmented together."""
    command = "-- speed {} --recipe smoke --device pretend --layout nchw --seconds {} --format json"
    peaks = []
    for models, seconds in (("resnet20_bn resnet18_bn", 1), ("resnet20_bn", 12)):
        table, (end,) = zoo_on_it(tmp_path, command.format(models, seconds))
        assert end.endswith("exit code 0"), end
        peaks.append({model["model"]: model for model in json.loads(table)["models"]})
    few, many = (measured["resnet20_bn"]["device_peak_bytes"] for measured in peaks)
    assert few == pytest.approx(many, rel=0.001)  # on several times as many images
    for measured in peaks[0].values():
        states = 3 * 4 * measured["parameters"]  # weights, gradients, momentum
        activations = measured["activation_bytes"] * measured["batch_size"]
        assert states < measured["device_peak_bytes"] < 2 * (states + activations)
