"""Results on disk: what is written comes back, what is damaged is said in one line, what is missing stays missing."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from zoo.cli.options import worded
from zoo.errors import MachineError, ResultError, sentence
from zoo.recipes.load import load_recipe
from zoo.recipes.recipe import fingerprint_of
from zoo.results.folder import RunFolder, find_results, load_result, save_result
from zoo.results.history import EpochRow, epochs_to, load_history, save_history, seconds_to
from zoo.results.metrics import Metrics
from zoo.results.predictions import load_predictions, save_predictions
from zoo.results.recipe_part import RecipePart
from zoo.results.schema import (
    FORMER_NAMES,
    SCHEMA_VERSION,
    DatasetPart,
    Diverged,
    Finished,
    ModelPart,
    Result,
    SelectionPart,
    SettingsPart,
    SpeedPart,
)
from zoo.utils.files import remove_leftovers, write_atomic


def metrics(correct: int = 9) -> Metrics:
    return Metrics(
        images=10,
        correct=correct,
        accuracy=correct / 10,
        top5_accuracy=None,
        loss=1 / 3,
        per_class_accuracy=[correct / 10, None],
        confusion=[[correct, 10 - correct], [0, 0]],
        ece=0.1,
        brier=0.2,
    )


CONTENT = load_recipe("standard", ["precision=fp32"]).canonical()


def finished() -> Finished:
    """A run with every field set."""
    return Finished(
        status="finished",
        diverged_epoch=None,
        diverged_step=None,
        seed=3,
        model=ModelPart(
            name="m_bn", label="M, BatchNorm", norm="bn", definition={"norm": {"kwargs": {"k": [1, 2]}}},
            parameters=11_173_962, trainable_parameters=11_173_962, macs=556_000_000,
            activation_bytes=1_000_000,
        ),
        recipe=RecipePart(name="standard", fingerprint=fingerprint_of(CONTENT), content=CONTENT),
        dataset=DatasetPart(
            name="cifar10", fingerprint="d" * 64, classes=["ä", "b"],
            train_images=45_000, holdout_images=5_000, test_images=10,
        ),
        selection=SelectionPart(split="holdout", rule="best", metric="accuracy", epoch=7),
        test=metrics(),
        holdout=metrics(8),
        train=metrics(10),
        running_train_loss=0.1,
        running_train_accuracy=0.95,
        epochs_trained=8,
        epochs_to_90_percent_of_final=5,
        speed=SpeedPart(
            train_images_per_second=100.5, window_rates=[100.5, 99.0], inference_images_per_second=300.25,
            inference_batch_size=128, latency_p50=0.01, latency_p90=0.011, latency_p99=0.02, peak_memory_bytes=2**30,
        ),
        settings=SettingsPart(
            device="cpu", layout="nchw", compiled=False, executor="batched", workers=0, deterministic=True
        ),
        environment={"cpu": "a cpu", "cores": 2, "gpu": None},
        git={"commit": "abc", "dirty": True},
        started="2030-01-02T03:04:05+00:00",
        wall_seconds=12.5,
        resumes=1,
    )  # fmt: skip


def diverged() -> Diverged:
    """A run that stopped in its first epoch, with what the engine can know of it."""
    speed = dict.fromkeys(SpeedPart.model_fields) | {"window_rates": []}
    return Diverged(
        **dict(finished())
        | {
            "status": "diverged", "diverged_epoch": 1, "diverged_step": 2, "test": None, "holdout": None,
            "train": None, "running_train_loss": None, "running_train_accuracy": None, "epochs_trained": 0,
            "epochs_to_90_percent_of_final": None, "git": None,
            "speed": SpeedPart(**speed),
            "selection": SelectionPart(split="holdout", rule="best", metric="accuracy", epoch=None),
        }
    )  # fmt: skip


def content(result: Result) -> dict[str, Any]:
    return json.loads(result.model_dump_json())


def failure(path: Path) -> str:
    with pytest.raises(ResultError) as caught:
        load_result(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("make", [finished, diverged])
def test_round_trip(tmp_path: Path, make: Callable[[], Result]) -> None:
    save_result(tmp_path / "result.json", make())
    assert load_result(tmp_path / "result.json") == make()
    assert json.loads((tmp_path / "result.json").read_text())["schema_version"] == SCHEMA_VERSION == 3


def test_missing_is_null_in_the_file_and_never_0(tmp_path: Path) -> None:
    save_result(tmp_path / "result.json", diverged())
    said = json.loads((tmp_path / "result.json").read_text())
    for key in ("test", "holdout", "running_train_loss", "running_train_accuracy", "git"):
        assert key in said
        assert said[key] is None
    assert said["selection"]["epoch"] is None
    assert said["speed"].pop("window_rates") == []
    assert len(said["speed"]) == 10
    assert set(said["speed"].values()) == {None}


def test_no_figure_may_be_left_out() -> None:
    """A default would put a number where nothing was measured."""
    for kind in (Finished, Diverged):
        required = {name for name, field in kind.model_fields.items() if field.is_required()}
        assert set(kind.model_fields) - required == {"schema_version"}
        assert list(kind.model_fields) == list(json.loads(finished().model_dump_json()))
    for part in (Metrics, SpeedPart, ModelPart, DatasetPart, SelectionPart, SettingsPart, RecipePart):
        old = {
            ModelPart: {"notes", "layout", "image_size", "batch_dependent", "replaces"},
            SpeedPart: {"inference_quartiles", "latency_quartiles", "runs_at_a_time"},
            SettingsPart: {"auto_threads"},
            Metrics: {"extra"},
            DatasetPart: {"normalization", "unusual", "test_split", "split", "image_column", "label_column"},
        }
        may = old.get(part, set())  # what results of old lack
        assert {name for name, field in part.model_fields.items() if not field.is_required()} == may


def test_newer_schema(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    # The newer zoo's other keys must not be what the message is about.
    path.write_text(json.dumps({**content(finished()), "schema_version": 4, "new": 1}))
    assert failure(path) == f"{path}: has schema version 4, this zoo reads up to 3; upgrade zoo"


def test_older_schema_is_read_and_what_it_did_not_measure_is_null(tmp_path: Path) -> None:
    said = content(finished())
    said["schema_version"] = 1
    for part, key in (
        ("model", "activation_bytes"), ("settings", "deterministic"), ("test", "top5_accuracy"), ("test", "brier"),
        ("holdout", "top5_accuracy"), ("holdout", "brier"),
    ):  # fmt: skip
        del said[part][key]
    del said["train"], said["epochs_to_90_percent_of_final"]
    path = tmp_path / "result.json"
    path.write_text(json.dumps(said))
    old = load_result(path)
    assert (old.train, old.epochs_to_90_percent_of_final, old.test.brier, old.model.activation_bytes) == (None,) * 4
    assert (old.test.accuracy, old.settings.deterministic) == (0.9, False)
    del said["seed"]
    path.write_text(json.dumps(said))
    assert "seed: field required" in failure(path)


@pytest.mark.parametrize("make", [finished, diverged])
def test_train_accuracy_has_two_names_and_files_of_before_are_read(tmp_path: Path, make: Callable[[], Result]) -> None:
    """`train_accuracy` was of running batches in files and of unaugmented images in tables."""
    present, path = content(make()), tmp_path / "result.json"
    names = {name: former for former, name in FORMER_NAMES.items()}
    former = {names.get(name, name): metric for name, metric in present.items()} | {"schema_version": 2}
    assert former.keys() >= FORMER_NAMES.keys()
    path.write_text(json.dumps(former))
    assert content(load_result(path)) == present | {"schema_version": 2}
    path.write_text(json.dumps(present | {"train_accuracy": 0.5}))
    assert "train_accuracy: extra inputs are not permitted" in failure(path)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text[: len(text) // 2], "not valid JSON ("),
        (lambda text: "", "not valid JSON ("),
        (lambda text: "\0" * 100, "not valid JSON ("),
        (lambda text: "[]", "the file: "),
        (lambda text: "3", "the file: "),
        (lambda text: text.replace('"seed":3', '"sead":3'), "seed: field required"),
        (lambda text: text.replace('"seed":3', '"seed":"x"'), "seed: input should be a valid integer"),
        (lambda text: text.replace('"seed":3', '"seed":3,"extra":1'), "extra: extra inputs are not permitted"),
        (lambda text: text.replace('"ece":0.1', '"ece":0.1,"new":1'), "test.new: extra inputs are not permitted"),
        (lambda text: text.replace('"layout":"nchw"', '"layout":"x"'), "settings.layout: input should be 'nchw' or"),
        (lambda text: text.replace('"loss":0.33', '"loss":null,"x":0.33'), "test.loss: input should be a valid number"),
        (lambda text: text.replace('"accuracy":0.9', '"accuracy":0.95'), "test: accuracy 0.95, but 9 of 10 images are"),
        (
            lambda text: text.replace('"correct":9', '"correct":10').replace('"accuracy":0.9', '"accuracy":1.0'),
            "test: 10 correct of 10 images, but the confusion matrix says 9 of 10",
        ),
        (lambda text: text.replace("[[9,1],", "[[9,2],"), "test: 9 correct of 10 images, but the confusion matrix"),
        (lambda text: text.replace("[[9,1],[0,0]]", "[]"), "test: the confusion matrix has other classes than"),
        (lambda text: text.replace('"schema_version":3', '"schema_version":"new"'), "schema_version: "),
    ],
)
def test_damaged_file(tmp_path: Path, damage: Callable[[str], str], told: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(damage(finished().model_dump_json()))
    found = failure(path)
    assert found.startswith(f"{path}: {told}")
    assert found.endswith("; the file was damaged or edited")


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (finished, {"test": None}, "test: null in a finished run"),
        (finished, {"diverged_epoch": 3}, "diverged_epoch: not null in a finished run"),
        (finished, {"status": "diverged"}, "diverged_epoch: null in a diverged run"),
        (diverged, {"diverged_epoch": None}, "diverged_epoch: null in a diverged run"),
        (diverged, {"diverged_step": None}, "diverged_step: null in a diverged run"),
        (diverged, {"test": content(finished())["test"]}, "test: not null in a diverged run"),
        (diverged, {"epochs_to_90_percent_of_final": 1}, "epochs_to_90_percent_of_final: not null in a diverged run"),
        (diverged, {"status": "finished"}, "diverged_epoch: not null in a finished run"),
        (finished, {"status": "going"}, "status: input should be 'finished' or 'diverged'"),
        (finished, {"status": None}, "status: input should be 'finished' or 'diverged'"),
        (finished, {"recipe": {"name": "standard", "fingerprint": "f" * 64, "content": CONTENT}},
         "recipe: the fingerprint is not that of the content"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("schema", [1, 2, 3])
def test_contradictions(
    tmp_path: Path, schema: int, make: Callable[[], Result], changes: dict[str, Any], message: str
) -> None:
    """No command shows a finished run without metrics, a diverged one without an epoch, or an edited recipe."""
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content(make()) | changes | {"schema_version": schema}))
    if schema == 1 and "epochs_to_90_percent_of_final" in changes:
        load_result(path)  # was not measured then
        return
    assert failure(path) == f"{path}: {message}; the file was damaged or edited"


def test_a_run_without_status(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps({key: value for key, value in content(finished()).items() if key != "status"}))
    assert failure(path) == f"{path}: status: field required; the file was damaged or edited"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_no_figure_is_not_a_number(tmp_path: Path, number: str) -> None:
    """JSON has none of these; json.loads reads them and tables would show them."""
    path = tmp_path / "result.json"
    path.write_text(finished().model_dump_json().replace('"ece":0.1', f'"ece":{number}'))
    assert failure(path).startswith(f"{path}: ")


def test_unreadable(tmp_path: Path) -> None:
    assert failure(tmp_path / "no.json") == f"{tmp_path}/no.json: cannot be read: No such file or directory"
    assert failure(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"


def test_find_results(tmp_path: Path) -> None:
    folders = [RunFolder.of(tmp_path / "runs", "cifar10", "r-12345678", f"m{i}_bn", i) for i in (2, 1)]
    for folder in folders:
        folder.path.mkdir(parents=True)
        folder.result.write_text("{}")
    (folders[0].path / ".result.json.77.tmp").write_text("{")
    (tmp_path / "elsewhere.json").write_text("{}")
    two, one = (folder.result for folder in folders)
    assert two == tmp_path / "runs/cifar10/r-12345678/m2_bn/seed2/result.json"
    assert find_results([tmp_path / "runs"]) == [one, two]
    assert find_results([two, tmp_path / "runs", folders[0].path]) == [one, two]  # each once
    assert find_results([tmp_path / "elsewhere.json"]) == [tmp_path / "elsewhere.json"]
    assert find_results([]) == []
    with pytest.raises(ResultError) as caught:
        find_results([tmp_path / "runs", tmp_path / "nowhere"])
    assert str(caught.value) == (
        f"no runs in {tmp_path}/nowhere: no such folder; give the folder that runs are kept in, "
        "or make some with `zoo bench MODEL`"
    )


def test_a_folder_that_cannot_be_looked_into_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runs were missing from every table, without a word."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text("{}")
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "b":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    assert len(find_results([tmp_path])) == 2
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ResultError, match="/b: its runs cannot be read \\(Permission denied\\)"):
        find_results([tmp_path])


def epoch_row(epoch: int, accuracy: float | None, train_seconds: float = 2.0) -> EpochRow:
    split = None if accuracy is None else "holdout"
    loss = None if accuracy is None else 1e-9
    return EpochRow(epoch, 0.1 + 0.2, 1 / 3, 0.5, split, loss, accuracy, 1000.0, train_seconds, 0.25)


def test_history_comes_back(tmp_path: Path) -> None:
    path, rows = tmp_path / "h.csv", [epoch_row(1, None), epoch_row(2, 0.9)]
    save_history(path, rows)
    assert load_history(path) == rows
    assert path.read_text().splitlines()[1].split(",")[4:7] == ["", "", ""]
    path.write_text(path.read_text().replace("running_train_", "train_"))  # as before schema 3
    assert load_history(path) == rows


@pytest.mark.parametrize("damage", ["", "epoch,lr\n1,0.1\n", "{}", "epoch\n\xff\n"])
def test_damaged_history(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "h.csv"
    path.write_text(damage)
    if damage == "":
        path.unlink()
    with pytest.raises(ResultError, match=f"{path}: the history cannot be read"):
        load_history(path)


def test_curve(tmp_path: Path) -> None:
    rows = [epoch_row(1, 0.5), epoch_row(2, 0.73), epoch_row(3, 0.7), epoch_row(4, 0.8, 10.0)]
    assert epochs_to(rows, 0.9) == 2  # 0.73 of 0.8
    assert epochs_to(rows, 0.95) == 4
    assert [seconds_to(rows, accuracy) for accuracy in (0.4, 0.7, 0.75, 0.81)] == [2.0, 4.0, 16.0, None]
    assert epochs_to([epoch_row(1, None)], 0.9) is None
    assert seconds_to([epoch_row(1, None)], 0.1) is None


def test_predictions_come_back(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    save_predictions(path, np.array([0, 99]), np.array([1, 98]), np.array([0.5, 1 / 3]))
    told = load_predictions(path)
    assert {name: array.tolist() for name, array in told.items()} == {
        "label": [0, 99], "predicted": [1, 98], "confidence": [0.5, float(np.float32(1 / 3))],
    }  # fmt: skip
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ResultError, match=f"{path}: the predictions cannot be read"):
        load_predictions(path)


def test_what_is_not_a_number_does_not_reach_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    save_result(path, finished())
    with pytest.raises(ValueError):
        save_result(path, finished().model_copy(update={"running_train_loss": math.nan}))
    assert load_result(path) == finished()


# Writing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old and long")
    write_atomic(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def writer(problem: BaseException) -> Callable[[BinaryIO], None]:
    """Fails in the middle of the file."""

    def write(file: BinaryIO) -> None:
        file.write(b"half")
        file.flush()
        raise problem

    return write


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), RuntimeError("bug"), SystemExit(1), OSError("no number")])
def test_interrupted_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path, problem: BaseException) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(type(problem)) as caught:
        write_atomic(path, writer(problem))
    assert caught.value is problem
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (
            errno.ENOSPC,
            "no space left on the disk; free some, then run the same command again: nothing earlier is lost",
        ),
        (errno.EACCES, "the folder cannot be written to (Permission denied); choose another with --runs FOLDER"),
        (errno.EROFS, "the folder cannot be written to (Read-only file system); choose another with --runs FOLDER"),
        (errno.EIO, "writing failed: Input/output error"),
    ],
)
def test_system_errors_are_one_line(tmp_path: Path, number: int, told: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(MachineError) as caught:
        write_atomic(path, writer(OSError(number, os.strerror(number))))
    assert sentence(caught.value.parts, worded) == f"{path}: {told}"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="writing failed: No such file or directory"):
        write_atomic(tmp_path / "gone" / "file", b"x")


def test_killed_writer_leaves_the_old_file_and_what_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys; from pathlib import Path; from zoo.utils.files import write_atomic\n"
        "def half(file):\n file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomic(Path(sys.argv[1]), half)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(names(tmp_path)) == 2
    assert find_results([tmp_path]) == [path]  # the rest of the killed one is no result
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["result.json"]
