"""What only a GPU can show, in one command that can be cut off and given again.

    python benchmarks/gpu.py --out gpu-results --data-dir FOLDER --minutes 25

Speeds first, one after the other: they need the GPU for themselves. Then accuracies in two lanes, each in the order of
what they are worth: large models one at a time, and beside them `--jobs` small ones, which leave a GPU waiting. What is
done is not done again; what the time cuts off is interrupted with its epoch saved, and goes on with the next call.
`--out` receives ``runs/`` (as `zoo bench` stores them, without weights unless ``--keep-weights``), ``studies/``
(trials, to be chosen among by held-out images), one JSON per speed measurement, and ``summary.md``. Needs no network.
``--tiny`` runs every kind of step at a size that a CPU does in a minute, to test this file and not to measure anything.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NORMS = ("bn", "ln", "gn", "in")
OTHER_NORMS = ("bn_ghost", "brn", "ln2d", "rms2d", "evos0", "evob0", "frn", "ws_gn", "none")
WITHOUT_CPU_RUNS = ("none", "evos0", "evob0", "brn", "bn_ghost", "frn")  # of resnet20 under `laptop`
SAVE_SECONDS = 20  # left for the summary, and for a run that is interrupted to save its epoch
THREADS = {"OMP_NUM_THREADS": "2"}  # of each of several runs at a time


@dataclass(frozen=True)
class Step:
    """One ``zoo`` command. `output`: the file of its stdout; a run has none, its folder says what is done.

    `expected`: seconds on an H100; a run is begun with any time left, since it goes on later.
    """

    name: str
    arguments: tuple[str, ...]
    output: str | None = None
    expected: float = 0.0


@dataclass(frozen=True)
class Plan:
    """`speeds` one after the other, then both lanes at the same time."""

    speeds: list[Step]
    large: list[Step]
    small: list[Step]


@dataclass
class Work:
    """Where the steps run, until when, and what became of them."""

    out: Path
    deadline: float  # of time.monotonic()
    where: tuple[str, ...]
    failed: list[str] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic() - SAVE_SECONDS


def bench(model: str, recipe: str, seed: int, *sets: str, runs: str = "runs", data: str) -> Step:
    """One run of one seed; `sets` as ``--set`` takes them."""
    changes = tuple(word for change in sets for word in ("--set", change))
    name = " ".join((model, recipe, *sets, f"seed {seed}"))
    command = ("bench", model, "--recipe", recipe, *changes, "--dataset", data, "--seed", str(seed), "--runs", runs)
    return Step(name, command)


def fast_trials(data: str) -> list[Step]:
    """What `fast` would gain by other settings, with 10,000 images held out; each as long on a CPU as the first."""
    first = {"epochs": 34, "optimizer.lr": 0.03, "optimizer.weight_decay": 0.05}
    trials = [
        ("airbench94_bn", {}),
        ("airbench94_bn", {"optimizer.lr": 0.06}),
        ("airbench94_bn", {"optimizer.weight_decay": 0.15}),
        ("airbench94_bn", {"optimizer.lr": 0.06, "optimizer.weight_decay": 0.15}),
        ("airbench94_d223_bn", {"optimizer.lr": 0.06, "optimizer.weight_decay": 0.1}),
        ("airbench94_w96_bn", {"epochs": 16, "optimizer.lr": 0.06, "optimizer.weight_decay": 0.1}),
        ("airbench94_d233_bn", {"epochs": 26, "optimizer.lr": 0.06, "optimizer.weight_decay": 0.1}),
        ("airbench94_bn", {"optimizer.lr": 0.1, "optimizer.weight_decay": 0.1}),
    ]
    steps = []
    for model, changes in trials:
        told = {"split.holdout": 10000, **first, **changes}
        told["schedule.peak_epoch"] = round(0.2 * told["epochs"], 1)
        sets = [f"{key}={value}" for key, value in told.items()]
        steps.append(bench(model, "fast", 0, *sets, runs="studies", data=data))
    return steps


def full_plan(data: str) -> Plan:
    """In the order of their worth."""

    def speed(name: str, norms: tuple[str, ...], expected: float) -> Step:
        models = (f"resnet18_{norm}" for norm in norms)
        command = ("speed", *models, "--recipe", "standard", "--dataset", data, "--seconds", "3")
        return Step(name, (*command, "--format", "json"), f"speed-{name}.json", expected)

    def standard(*models: str, seeds: tuple[int, ...] = (0,)) -> list[Step]:
        return [bench(model, "standard", seed, data=data) for seed in seeds for model in models]

    four = [f"resnet18_{norm}" for norm in NORMS]
    return Plan(
        speeds=[speed("resnet18", NORMS + OTHER_NORMS, 100)],
        large=[
            *standard(*four),
            bench("resnet18_in", "eva6s8", 1, data=data),
            *standard(*four, seeds=(1, 2)),
            *(bench(model, "fast", seed, data=data) for seed in range(3) for model in four[:2]),
            *standard(*(f"resnet18_{norm}" for norm in OTHER_NORMS)),
            *standard("preact_resnet18_bn", "resnet50_bn", "wrn28_10_bn"),
        ],
        small=[
            *fast_trials(data),
            *(
                bench(f"resnet20_{norm}", "laptop", seed, "precision=fp32", data=data)
                for norm in WITHOUT_CPU_RUNS
                for seed in range(2)
            ),
            *(bench(f"airbench94_{norm}", "fast", seed, data=data) for seed in range(3) for norm in NORMS),
        ],
    )


def tiny_plan() -> Plan:
    """The same commands at the size of a smoke test."""
    tiny = ("split.train=64", "split.holdout=32", "batch_size=8")
    models = ("resnet20_bn", "resnet20_ln")
    sets = tuple(word for change in tiny for word in ("--set", change))
    return Plan(
        speeds=[
            Step("resnet20", ("speed", *models, "--recipe", "smoke", *sets, "--seconds", "1", "--format", "json"),
                 "speed-resnet20.json", 20)
        ],
        large=[bench(models[0], "smoke", seed, *tiny, data="shapes10") for seed in range(2)],
        small=[bench(models[1], "smoke", seed, *tiny, data="shapes10") for seed in range(2)],
    )  # fmt: skip


def zoo(arguments: tuple[str, ...], out: Path, seconds: float, **variables: str) -> tuple[int | None, str]:
    """Run one command in `out`; exit code and stdout. None when the time was up: interrupted, its epoch saved."""
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo", *arguments], cwd=out, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))},
    )  # fmt: skip
    try:
        text, _ = process.communicate(timeout=max(1.0, seconds))
        return process.returncode, text
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=SAVE_SECONDS / 2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        return None, ""


def carry_out(step: Step, work: Work, **variables: str) -> None:
    """Run `step` unless it is done or no longer fits, and say what became of it."""
    done = work.out / "done" / step.name.replace("/", "_")
    if done.exists():
        print(f"{step.name}: done before", flush=True)
        return
    left = work.left
    if left <= step.expected:
        print(f"{step.name}: left for the next call ({max(0, left):.0f} s left)", flush=True)
        return
    start = time.monotonic()
    code, text = zoo((*step.arguments, *work.where), work.out, left, **variables)
    took = time.monotonic() - start
    if code is None:
        print(f"{step.name}: interrupted after {took:.0f} s, goes on with the next call", flush=True)
    elif code != 0:
        work.failed.append(step.name)
        print(f"{step.name}: failed with exit code {code} after {took:.0f} s", flush=True)
    else:
        print(f"{step.name}: {took:.0f} s", flush=True)
        if step.output:
            (work.out / step.output).write_text(text)
        done.parent.mkdir(exist_ok=True)
        done.touch()


def carry_out_lanes(plan: Plan, jobs: int, work: Work) -> None:
    """The large models one at a time, and beside them `jobs` of the small ones."""

    def lane(steps: Iterator[Step]) -> None:
        while True:
            with lock:
                step = next(steps, None)
            if step is None:
                return
            carry_out(step, work, **THREADS)

    lock, small = threading.Lock(), iter(plan.small)
    lanes = [threading.Thread(target=lane, args=(steps,)) for steps in (iter(plan.large), *[small] * jobs)]
    for thread in lanes:
        thread.start()
    for thread in lanes:
        thread.join()


def summarise(out: Path, baseline: str) -> str:
    """Tables of everything that is there."""
    parts = ["# What the GPU showed\n"]
    for path in sorted(out.glob("speed-*.json")):
        told = json.loads(path.read_text())
        machine = told["environment"]["gpu"] or told["environment"]["cpu"]
        parts.append(f"## {path.stem} ({machine}, torch {told['environment']['torch']})\n")
        parts.append("| model | layout | train img/s | step img/s | loop/step | inference img/s | p50 ms | % of peak |")
        parts.append("| --- | --- | --: | --: | --: | --: | --: | --: |")
        parts += [
            f"| {item['model']} | {item['layout']} | {item['train_images_per_second']:,.0f} "
            f"| {item['step_images_per_second']:,.0f} "
            f"| {item['efficiency']:.3f} | {item['inference_images_per_second']:,.0f} "
            f"| {1e3 * item['latency_p50']:.2f} | {100 * item['peak_share']:.1f} |"
            for item in told["models"]
        ]
        parts.append("")
    for folder, heading, more in (
        ("runs", "Accuracy", ("--baseline", baseline)),
        ("studies", "Trials", ("--allow-mixed",)),
    ):
        if next((out / folder).rglob("result.json"), None):
            command = ("compare", folder, "--format", "markdown")
            code, text = zoo((*command, *more), out, 120)
            parts += [f"## {heading}\n", text if code == 0 else zoo(command, out, 120)[1]]
    return "\n".join(parts)


def main() -> int:
    """Do what fits the time; exit code 0 when nothing failed, whether or not everything was reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for results; given again, it goes on there")
    parser.add_argument("--data-dir", help="folder that holds the data set (else $ZOO_DATA)")
    parser.add_argument("--dataset", default="cifar10-jpeg")
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--jobs", type=int, default=4, help="small models trained at a time, beside a large one")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--keep-weights", action="store_true", help="leave model.safetensors in the run folders")
    parser.add_argument("--tiny", action="store_true", help="test this file on a CPU; measures nothing")
    given = parser.parse_args()
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    where = ("--device", given.device, *(("--data-dir", str(Path(given.data_dir).resolve())) if given.data_dir else ()))
    work = Work(out, time.monotonic() + 60 * given.minutes, where)
    plan = tiny_plan() if given.tiny else full_plan(given.dataset)
    for step in plan.speeds:
        carry_out(step, work)
    carry_out_lanes(plan, given.jobs, work)
    (out / "summary.md").write_text(summarise(out, "resnet20_bn" if given.tiny else "resnet18_bn"))
    if not given.keep_weights:
        for weights in out.rglob("model.safetensors"):
            weights.unlink()
    print(f"wrote {out / 'summary.md'}", flush=True)
    return 1 if work.failed else 0


if __name__ == "__main__":
    sys.exit(main())
