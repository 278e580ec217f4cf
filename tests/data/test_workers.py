"""The loader's processes: the shared memory that they need, a limit to waiting for them, and one that is killed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from zoo.data import loader as loaders
from zoo.data.augment.reference import ReferenceAugment
from zoo.data.augment.spec import parse
from zoo.data.datasets import load
from zoo.data.loader import Batching, TrainLoader
from zoo.data.workers import killed_worker, start_method
from zoo.utils.distributed import SINGLE_PROCESS

NORMALIZE = {"Normalize": {"mean": [0.491, 0.482, 0.447], "std": [0.247, 0.243, 0.262]}}
MAKE_LOADER = f"""
import numpy as np
from zoo.data.augment.reference import ReferenceAugment
from zoo.data.augment.spec import parse
from zoo.data.loader import Batching, TrainLoader
from zoo.errors import MachineError
from zoo.utils.distributed import SINGLE_PROCESS
batching = Batching(512, 0, SINGLE_PROCESS)
for workers in (8, 4):
    try:
        TrainLoader(np.zeros((512, 32, 32, 3), np.uint8), np.zeros(512, np.int64), [{NORMALIZE}], batching,
                    executor="albumentations", workers=workers)
        print("enough")
    except MachineError as problem:
        print(problem)
"""


def test_workers_whose_batches_do_not_fit_in_dev_shm_are_refused_before_training() -> None:
    """torch would wait for ever for a process that waits for memory. A container's /dev/shm has 64 MB."""
    mount = 'mount -t tmpfs -o size=64m tmpfs /dev/shm || exit 9; exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", mount, "sh", sys.executable, "-c", MAKE_LOADER]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare")
    if "unshare" in done.stderr or done.returncode == 9:
        pytest.skip(f"no mount of its own: {done.stderr.strip()}")
    assert done.stdout.splitlines() == [
        "8 loader processes need 107 MB of shared memory, and /dev/shm has 67 MB free; "
        "enlarge it (in a container, its shm size) or give workers 4",
        "enough",
    ], done.stderr


class Slow(ReferenceAugment):
    """Takes `seconds` for the ninth image, as a process does that waits for memory."""

    seconds = 0.0

    def __call__(self, image: np.ndarray, seed: int, epoch: int, position: int, row: int) -> np.ndarray:
        time.sleep(self.seconds * (position == 8))
        return super().__call__(image, seed, epoch, position, row)


def slow_loader(seconds: float) -> TrainLoader:
    """Of 16 images in batches of 4, by one process."""
    transforms = Slow(parse([NORMALIZE], "train transforms"))
    transforms.seconds = seconds
    images, labels = np.zeros((16, 32, 32, 3), np.uint8), np.arange(16)
    return TrainLoader(images, labels, transforms, Batching(4, 0, SINGLE_PROCESS), workers=1)


def test_waiting_for_a_process_that_makes_no_batch_has_a_limit(monkeypatch) -> None:
    monkeypatch.setattr(loaders, "WAIT", 1)
    stuck = slow_loader(seconds=1000)
    try:
        with pytest.raises(RuntimeError) as caught:
            list(stuck.epoch(0))
    finally:
        stuck.close()
    assert "the loader's processes made no batch in 120 s; look for a full /dev/shm" in str(killed_worker(caught.value))


def test_a_pause_of_all_processes_is_no_failure(monkeypatch) -> None:
    """The clock of the limit goes on while a job is stopped, as clusters do; a wait is therefore repeated once."""
    monkeypatch.setattr(loaders, "WAIT", 1)
    paused = slow_loader(seconds=1.5)
    try:
        assert len(list(paused.epoch(0))) == 4
    finally:
        paused.close()


def test_a_connection_that_a_killed_worker_breaks_is_known() -> None:
    """It is killed while it hands over a batch, and torch has no word for that."""
    for module, known in (("torch.multiprocessing.reductions", True), ("elsewhere", False)):
        inside = {"__name__": module}
        exec("def detach(): raise ConnectionResetError(104, 'Connection reset by peer')", inside)
        with pytest.raises(ConnectionError) as caught:
            inside["detach"]()
        assert ("a loader process was killed" in str(killed_worker(caught.value))) is known


@pytest.mark.parametrize(
    ("platform", "device", "accelerator", "method"),
    [
        ("linux", "cpu", False, "fork"),
        ("linux", "cpu", True, "spawn"),  # torch may have started CUDA in this process
        ("linux", "cuda", True, "spawn"),
        ("darwin", "cpu", False, "spawn"),
        ("darwin", "mps", True, "spawn"),
        ("win32", "cpu", False, "spawn"),
    ],
)
def test_workers_are_forked_on_linux_without_an_accelerator_alone(
    monkeypatch, platform: str, device: str, accelerator: bool, method: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("zoo.data.workers.accelerator", lambda: torch.device("cuda") if accelerator else None)
    assert start_method(torch.device(device)) == method


def worker_loader(workers: int = 1) -> TrainLoader:
    dataset = load("shapes10")
    return TrainLoader(
        dataset.train.images, dataset.train.labels, [{"RandomCrop": {"height": 24, "width": 24}}, NORMALIZE],
        Batching(100, 0, SINGLE_PROCESS), executor="albumentations", workers=workers, indices=np.arange(400),
    )  # fmt: skip


def test_154_mb_of_images_are_not_sent_to_workers() -> None:
    """A process that is not forked is sent the path of the decoded copy, whatever its size, and labels and rows."""
    sent = len(pickle.dumps(worker_loader()._executor.dataset))
    assert sent < load("shapes10").train.images.nbytes / 100


@pytest.mark.slow
def test_workers_that_start_anew_give_the_same_batches_and_are_missed_when_killed(monkeypatch) -> None:
    expected = [x for x, _ in worker_loader(workers=0).epoch(1)]
    monkeypatch.setattr(loaders, "start_method", lambda device: "spawn")
    anew = worker_loader()
    try:
        for (x, _), other in zip(anew.epoch(1), expected, strict=True):
            assert torch.equal(x, other)
        (process,) = anew._executor.loader._iterator._workers
        batches = anew.epoch(2)
        process.kill()
        with pytest.raises(RuntimeError) as caught:
            list(batches)
    finally:
        anew.close()
    assert "a loader process was killed" in str(killed_worker(caught.value))


STARTS_ANEW = """
import sys
if __name__ == "__main__":
    from zoo.cli.main import main
    from zoo.data import loader
    loader.start_method = lambda device: "spawn"
    main()
"""


@pytest.mark.slow
def test_ctrl_c_while_workers_start_anew_prints_no_traceback(zoo_cli) -> None:
    """Each takes seconds for its imports, and Ctrl-C reaches every process at the terminal."""
    script = zoo_cli.folder / "starts_anew.py"
    script.write_text(STARTS_ANEW)
    cli = replace(zoo_cli, command=(sys.executable, str(script)))
    process = cli.start(
        "bench",
        "resnet20_ln",
        "--recipe",
        "smoke",
        "--executor",
        "albumentations",
        "--workers",
        "2",
        "--layout",
        "nchw",
    )
    try:
        for line in process.stderr:
            if line.strip().startswith("cpu, nchw"):
                break
        else:
            pytest.fail("it ended by itself")
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.stdout.close()
        process.stderr.close()
    assert "Traceback" not in rest
    assert "To resume: " in rest
