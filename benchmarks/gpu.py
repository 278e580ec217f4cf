"""What only a GPU can show, in one command that can be cut off and given again.

    python benchmarks/gpu.py --out gpu-results --data-dir FOLDER --minutes 25

Speeds first, one after the other: they need the GPU for themselves. Then accuracies in two lanes, each in the order of
what they are worth: large models one at a time, and beside them `--jobs` small ones, which leave a GPU waiting. What is
done is not done again. What the time, Ctrl-C or SIGTERM cuts off goes on with the next call, a run after its last
finished epoch.
`--out` receives ``runs/`` (as `zoo bench` stores them, without weights unless ``--keep-weights``), ``studies/``
(trials, to be chosen among by held-out images), one JSON per speed measurement, ``logs/``, ``summary.md`` and all of
these in ``results.tar.gz``, which is what to take home. Needs no network. ``--tiny`` runs every kind of step at a size
that a CPU does in a minute, to test this file and not to measure anything.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NORMS = ("bn", "ln", "gn", "in")
OTHER_NORMS = ("bn_ghost", "brn", "ln2d", "rms2d", "evos0", "evob0", "frn", "ws_gn", "none")
SAVE_SECONDS = 40  # left for what is interrupted to end, for the summary and the archive
LEAST_SECONDS = 30  # a run is not begun with less: it takes some to start
THREADS = {"OMP_NUM_THREADS": "2"}  # of all, since several run at a time and a layout is remembered by the threads too
FOLDERS = ("ZOO_DATA", "ZOO_CACHE", "ZOO_REGISTRY")
INTERRUPTED = 130  # exit code of zoo


@dataclass(frozen=True)
class Step:
    """One ``zoo`` command. `output`: the file of its stdout; a run has none, its folder says what is done.

    `expected`: seconds that it may need, by estimate; it is not begun with less.
    """

    name: str
    arguments: tuple[str, ...]
    output: str | None = None
    expected: float = LEAST_SECONDS

    @property
    def slug(self) -> str:
        """Its name for files."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.name)


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
    running: set[subprocess.Popen] = field(default_factory=set)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic() - SAVE_SECONDS

    def stop(self, *_: object) -> None:
        """A signal handler: nothing more is begun, what runs is interrupted."""
        self.deadline = 0.0
        for process in tuple(self.running):
            process.terminate()


def under(recipe: str, sets: tuple[str, ...], data: str) -> tuple[str, ...]:
    """The options that name a recipe, with `sets` as ``--set`` takes them, and a data set."""
    return ("--recipe", recipe, *(word for change in sets for word in ("--set", change)), "--dataset", data)


def speed(name: str, models: list[str], recipe: str, *sets: str, seconds: int, expected: float, data: str) -> Step:
    """The speeds of several models in one file."""
    command = ("speed", *models, *under(recipe, sets, data), "--seconds", str(seconds), "--format", "json")
    return Step(name, command, f"speed-{name}.json", expected)


def bench(model: str, recipe: str, seed: int, *sets: str, runs: str = "runs", data: str) -> Step:
    """One run of one seed."""
    name = " ".join((data, model, recipe, *sets, f"seed {seed}"))
    return Step(name, ("bench", model, *under(recipe, sets, data), "--seed", str(seed), "--runs", runs))


def fast_trials(data: str) -> list[Step]:
    """What `fast` would gain by other settings, with 10,000 images held out; all take about as long on a CPU."""
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

    def standard(*models: str, seeds: tuple[int, ...] = (0,)) -> list[Step]:
        return [bench(model, "standard", seed, data=data) for seed in seeds for model in models]

    four, others = ([f"resnet18_{norm}" for norm in norms] for norms in (NORMS, OTHER_NORMS))
    return Plan(
        speeds=[speed("resnet18", four + others, "standard", seconds=3, expected=100, data=data)],
        large=[
            *standard(*four),
            bench("resnet18_in", "eva6s8", 1, data=data),
            *standard(*four, seeds=(1, 2)),
            *(bench(model, "fast", seed, data=data) for seed in range(3) for model in four[:2]),
            *standard(*others),
            *standard("preact_resnet18_bn", "resnet50_bn", "wrn28_10_bn"),
        ],
        small=[
            *fast_trials(data),
            *(bench(f"airbench94_{norm}", "fast", seed, data=data) for seed in range(3) for norm in NORMS),
        ],
    )


def tiny_plan() -> Plan:
    """The same commands at the size of a smoke test."""
    tiny = ("split.train=64", "split.holdout=32", "batch_size=8")
    models = ["resnet20_bn", "resnet20_ln"]
    return Plan(
        speeds=[speed("resnet20", models, "smoke", *tiny, seconds=1, expected=20, data="shapes10")],
        large=[bench(models[0], "smoke", seed, *tiny, data="shapes10") for seed in range(2)],
        small=[
            bench(models[1], "smoke", 0, *tiny, data="shapes10"),
            bench(models[1], "smoke", 0, *tiny, "optimizer.lr=0.05", runs="studies", data="shapes10"),
        ],
    )  # fmt: skip


def zoo(arguments: tuple[str, ...], work: Work, seconds: float, log: Path) -> tuple[int, str]:
    """Run one command in `work.out`; exit code and stdout. When the time is up it is interrupted as by Ctrl-C."""
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with log.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "zoo", *arguments], cwd=work.out, stdout=subprocess.PIPE, stderr=errors, text=True,
            env={**os.environ, **THREADS, "PYTHONPATH": search}, start_new_session=True,
        )  # fmt: skip
        work.running.add(process)
        if work.left <= 0:  # the signal came while the process was made
            process.terminate()
        try:
            text, _ = process.communicate(timeout=max(1.0, seconds))
            return process.returncode, text
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                return INTERRUPTED, process.communicate(timeout=SAVE_SECONDS / 2)[0]
            except subprocess.TimeoutExpired:
                process.kill()
                return INTERRUPTED, process.communicate()[0]
        finally:
            work.running.discard(process)


def keep(told: dict[str, Any], path: Path) -> None:
    """Add the models of `told` to those that an earlier call has measured; at no moment is half a file there."""
    before = json.loads(path.read_text())["models"] if path.exists() else []
    now = {item["model"] for item in told["models"]}
    told["models"] = [item for item in before if item["model"] not in now] + told["models"]
    path.with_suffix(".part").write_text(json.dumps(told, indent=1))
    path.with_suffix(".part").replace(path)


def carry_out(step: Step, work: Work) -> None:
    """Run `step` unless it is done or no longer fits, and say what became of it."""
    done, log = work.out / "done" / step.slug, work.out / "logs" / f"{step.slug}.txt"
    if done.exists():
        print(f"{step.name}: done before", flush=True)
        return
    left = work.left
    if left <= step.expected:
        print(f"{step.name}: left for the next call ({max(0, left):.0f} s left)", flush=True)
        return
    start = time.monotonic()
    code, text = zoo((*step.arguments, *work.where), work, left, log)
    took = time.monotonic() - start
    if step.output and text.startswith("{"):  # what was measured before an error or an interruption counts
        keep(json.loads(text), work.out / step.output)
    if code == 0:
        done.touch()
        print(f"{step.name}: {took:.0f} s", flush=True)
    elif code in (INTERRUPTED, -signal.SIGTERM):
        print(f"{step.name}: interrupted after {took:.0f} s", flush=True)
    else:
        work.failed.append(step.name)
        said = log.read_text().strip().splitlines()[-1:]
        print(f"{step.name}: failed with exit code {code} after {took:.0f} s: {' '.join(said)}", flush=True)


def carry_out_lanes(plan: Plan, jobs: int, work: Work) -> None:
    """The large models one at a time, and beside them `jobs` of the small ones."""
    with ThreadPoolExecutor(1) as large, ThreadPoolExecutor(jobs) as small:
        lanes = ((large, plan.large), (small, plan.small))
        waiting = [pool.submit(carry_out, step, work) for pool, steps in lanes for step in steps]
    for one in waiting:
        one.result()  # raises what a thread raised


def trials(out: Path) -> list[str]:
    """A table of the trials, best first, by held-out images alone."""
    results = [json.loads(path.read_text()) for path in (out / "studies").rglob("result.json")]
    rows = sorted((result for result in results if result["holdout"]), key=lambda one: -one["holdout"]["accuracy"])
    head = [
        "| model | recipe | epochs | lr | weight decay | held-out accuracy % |",
        "| --- | --- | --: | --: | --: | --: |",
    ]
    return head + [
        f"| {row['model']['name']} | {row['recipe']['name']}-{row['recipe']['fingerprint'][:8]} "
        f"| {content['epochs']} | {content['optimizer']['lr']:g} | {content['optimizer']['weight_decay']:g} "
        f"| {100 * row['holdout']['accuracy']:.2f} |"
        for row in rows
        for content in [row["recipe"]["content"]]
    ]


def summarise(work: Work, baseline: str) -> str:
    """Tables of everything that is there."""
    parts = ["# What the GPU showed\n"]
    if work.failed:
        parts.append(f"Failed in the last call (see logs/): {', '.join(work.failed)}\n")
    for path in sorted(work.out.glob("speed-*.json")):
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
    if next((work.out / "runs").rglob("result.json"), None):
        command = ("compare", "runs", "--view", "quality", "--format", "markdown")
        log = work.out / "logs" / "summary.txt"
        code, text = zoo((*command, "--baseline", baseline), work, 30, log)
        parts += ["## Accuracy\n", text if code == 0 else zoo(command, work, 30, log)[1]]
        parts.append("Runs shared the GPU with each other, so that their own speeds say nothing.\n")
    if next((work.out / "studies").rglob("result.json"), None):
        parts += ["## Trials\n", *trials(work.out)]
    return "\n".join(parts)


def pack(out: Path) -> None:
    """Everything but weights and saved states in one file."""
    with tarfile.open(out / "results.tar.gz", "w:gz") as archive:
        for path in sorted(out.rglob("*")):
            if path.is_file() and path.suffix not in (".pt", ".safetensors", ".gz") and path.parent.name != "done":
                archive.add(path, path.relative_to(out))


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
    for folder in ("done", "logs"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    where = ("--device", given.device, *(("--data-dir", str(Path(given.data_dir).resolve())) if given.data_dir else ()))
    for name in FOLDERS:  # the commands run in another folder
        if os.environ.get(name):
            os.environ[name] = os.pathsep.join(
                str(Path(part).expanduser().absolute()) for part in os.environ[name].split(os.pathsep) if part
            )
    work = Work(out, time.monotonic() + 60 * given.minutes, where)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, work.stop)
    plan = tiny_plan() if given.tiny else full_plan(given.dataset)
    try:
        for step in plan.speeds:
            carry_out(step, work)
        carry_out_lanes(plan, given.jobs, work)
    finally:
        if not given.keep_weights:
            for weights in out.rglob("model.safetensors"):
                weights.unlink()
        try:
            (out / "summary.md").write_text(summarise(work, "resnet20_bn" if given.tiny else "resnet18_bn"))
        finally:
            pack(out)
    print(f"wrote {out / 'summary.md'}" + f"; failed: {', '.join(work.failed)}" * bool(work.failed), flush=True)
    return 1 if work.failed else 0


if __name__ == "__main__":
    sys.exit(main())
