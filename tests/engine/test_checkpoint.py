"""Weights and state on disk: what comes back, and that no file can bring code with it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tiny_training import IDENTITY
from torch import nn

from zoo.engine.checkpoint import (
    STATE_VERSION,
    Progress,
    SavedState,
    load_state,
    load_weights,
    save_state,
    save_weights,
)
from zoo.errors import ResultError
from zoo.results.history import EpochRow

ROW = EpochRow(
    epoch=1, lr=0.1, running_train_loss=2.0, running_train_accuracy=0.5, eval_split=None, eval_loss=None,
    eval_accuracy=None, train_images_per_second=9.5, train_seconds=1.0, eval_seconds=0.5,
)  # fmt: skip
STATE = SavedState(
    identity=replace(IDENTITY, processes=2, environment={"cpu": "abacus"}, git=None, started="now", moved_after=1),
    progress=Progress(epoch=1, history=[ROW], window_rates=[9.0, 10.0], resumes=3, best_epoch=1, best_value=-2.5),
    peak=0.1,
    model={"w": torch.arange(6.0).view(2, 3)},
    optimizer={"state": {0: {"momentum_buffer": None}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    scaler={},
    averaged=None,
    plateau={"best": 2.0},
    best_weights=None,
)


class Harmful:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


def failure(path: Path) -> str:
    with pytest.raises(ResultError) as caught:
        load_state(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_state_round_trip(tmp_path: Path) -> None:
    save_state(tmp_path / "state.pt", STATE)
    state = load_state(tmp_path / "state.pt")
    assert torch.equal(state.model["w"], STATE.model["w"])
    assert replace(state, model=STATE.model) == STATE
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_what_a_state_looks_like_on_the_disk(tmp_path: Path) -> None:
    """Older versions of zoo read it, and this one reads theirs: names and nesting stay."""
    save_state(tmp_path / "state.pt", STATE)
    content = torch.load(tmp_path / "state.pt", weights_only=True)
    assert list(content) == [
        "version", "identity", "progress", "peak", "model", "optimizer", "scaler", "averaged", "plateau", "best_weights"
    ]  # fmt: skip
    assert content["version"] == STATE_VERSION
    assert content["progress"] == asdict(STATE.progress)
    assert content["identity"] == {
        "run": IDENTITY.run,
        "settings": {
            "device": "cpu", "layout": "nchw", "compiled": False, "executor": "batched", "workers": 0,
            "deterministic": False, "auto_threads": False, "processes": 2, "at_a_time": 1,
            "environment": {"cpu": "abacus"}, "git": None, "started": "now", "moved_after": 1,
        },
    }  # fmt: skip


def test_a_state_of_old_lacks_what_was_added_since(tmp_path: Path) -> None:
    save_state(tmp_path / "state.pt", STATE)
    content = torch.load(tmp_path / "state.pt", weights_only=True)
    for name in ("auto_threads", "at_a_time"):
        del content["identity"]["settings"][name]
    torch.save(content, tmp_path / "state.pt")
    assert load_state(tmp_path / "state.pt").identity == STATE.identity


@pytest.mark.skipif(sys.platform != "linux", reason="no RLIMIT_DATA here")
def test_a_state_is_written_without_a_second_copy(tmp_path: Path) -> None:
    code = f"""import resource, sys, torch
sys.path += {[str(Path(__file__).parent), *sys.path]!r}
from pathlib import Path
from test_checkpoint import STATE, replace, save_state
large = replace(STATE, model={{"weight": torch.ones(2**26)}})  # 256 MB
taken = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (taken + (96 << 20),) * 2)
save_state(Path("state.pt"), large)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)
    assert (tmp_path / "state.pt").stat().st_size > 2**28


def test_no_state_is_none(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state.pt") is None


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_state_with_code_is_refused_and_the_code_does_not_run(tmp_path: Path, kind: str) -> None:
    path, mark = tmp_path / "state.pt", tmp_path / "ran"
    content = {"version": STATE_VERSION, "model": Harmful(mark)}
    with path.open("wb") as file:
        torch.save(content, file) if kind == "torch" else pickle.dump(content, file, protocol=2)
    assert failure(path).endswith("; add restart to start this run again")
    assert not mark.exists()
    # The check above would prove nothing if the file were harmless.
    torch.load(path, weights_only=False) if kind == "torch" else pickle.loads(path.read_bytes())
    assert mark.exists()


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_truncated_state_is_one_line(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "state.pt"
    save_state(path, STATE)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    assert failure(path).startswith(f"{path}: the saved state cannot be read (")


@pytest.mark.parametrize("content", [{"model": 1}, [1, 2], 3])
def test_file_that_is_no_state(tmp_path: Path, content: object) -> None:
    path = tmp_path / "state.pt"
    torch.save(content, path)
    assert failure(path).startswith(f"{path}: the saved state cannot be read (")


def test_state_of_another_version(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"version": STATE_VERSION + 1}, path)
    assert failure(path) == (
        f"{path}: the saved state has version 2, this zoo reads 1; add restart to start this run again"
    )


def test_weights_round_trip_and_their_bytes_do_not_tell_the_layout(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    save_weights(tmp_path / "a", model.state_dict())
    save_weights(tmp_path / "b", model.to(memory_format=torch.channels_last).state_dict())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    loaded = load_weights(tmp_path / "a")
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in loaded.items())
    with safe_open(tmp_path / "a", "pt") as file:
        assert file.metadata() == {"format": "pt"}  # what other loaders ask for


def test_shared_tensors_are_stored_twice(tmp_path: Path) -> None:
    shared = torch.ones(2)
    save_weights(tmp_path / "a", {"one": shared, "two": shared})
    assert sorted(load_weights(tmp_path / "a")) == ["one", "two"]


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff" * 100])
def test_damaged_weights(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ResultError, match="the weights cannot be read") as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)
