"""What only a GPU can show, in one command that can be cut off and given again.

    python benchmarks/gpu.py --out gpu-results --data-dir FOLDER --minutes 25

Speeds first, one after the other: they need the GPU for themselves. Then accuracies in two lanes, each in the order of
what they are worth: large models one at a time, and beside them `--jobs` small ones, which leave a GPU waiting. What is
done is not done again. What the time, Ctrl-C or SIGTERM cuts off goes on with the next call, a run after its last
finished epoch, speeds with the next model; what a call that was killed left running is ended first.
`--out` receives ``runs/`` (as `zoo bench` stores them, without weights unless ``--keep-weights``), ``studies/``
(trials, to be chosen among by held-out images), one JSON per speed measurement, ``logs/``, ``summary.md`` and all of
these in ``results.tar.gz``, which is what to take home. Needs no network. ``--tiny`` runs every kind of step at a size
that a CPU does in a minute, to test this file and not to measure anything.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NORMS = ("bn", "ln", "gn", "in")
OTHER_NORMS = ("bn_ghost", "brn", "ln2d", "rms2d", "evos0", "evob0", "frn", "ws_gn", "none")
STOP_SECONDS = 20  # for a command that is interrupted to end
SUMMARY_SECONDS = 15  # for each of the two commands that the summary may need
SAVE_SECONDS = STOP_SECONDS + 2 * SUMMARY_SECONDS + 5  # left of a call for these and for the archive
# Seconds that a command may need on an H200; it is not begun with less. Estimates, as no GPU was measured yet: 6 FLOPs
# a MAC and image at 130 TFLOP/s in bf16 (half that for norms without a kernel) and 33 in fp32, or 15 ms a step where
# the GPU waits for its host; half as much again for the other lane; 20 to start, test and measure.
SPEEDS = 30  # a start and the first models
AIRBENCH = 140
RESNET18 = 160
RESNET18_FP32 = 330
DEEP = 400  # WRN-28-10 may need more, but a call of ten minutes should begin it
TINY = 20
THREADS = {"OMP_NUM_THREADS": "2"}  # of all, since several run at a time
FOLDERS = ("ZOO_DATA", "ZOO_CACHE", "ZOO_REGISTRY")
INTERRUPTED = 130  # exit code of zoo


@dataclass(frozen=True)
class Step:
    """One ``zoo`` command, not begun with less than the `expected` seconds that it may need.

    A speed measurement has `models`, which follow the command's first word; a run has its model among `arguments`.
    """

    name: str
    arguments: tuple[str, ...]
    expected: float
    models: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        """Its name for files."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.name)

    @property
    def output(self) -> str:
        """The file of the figures of a speed measurement."""
        return f"speed-{self.slug}.json"


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

    def stop(self, *_: object) -> None:
        """A signal handler: the time is up, so nothing more is begun and what runs is interrupted."""
        self.deadline = 0.0


def under(recipe: str, sets: tuple[str, ...], data: str) -> tuple[str, ...]:
    """The options that name a recipe, with `sets` as ``--set`` takes them, and a data set."""
    return ("--recipe", recipe, *(word for change in sets for word in ("--set", change)), "--dataset", data)


def speed(name: str, models: list[str], recipe: str, *sets: str, seconds: int, expected: float, data: str) -> Step:
    """The speeds of several models in one file."""
    command = ("speed", *under(recipe, sets, data), "--seconds", str(seconds), "--format", "json")
    return Step(name, command, expected, tuple(models))


def bench(model: str, recipe: str, seed: int, *sets: str, expected: float, runs: str = "runs", data: str) -> Step:
    """One run of one seed."""
    name = " ".join((data, model, recipe, *sets, f"seed {seed}"))
    command = ("bench", model, *under(recipe, sets, data), "--seed", str(seed), "--runs", runs)
    return Step(name, command, expected)


def fast_trials(data: str) -> list[Step]:
    """What `fast` would gain by other settings, with 10,000 images held out; all take about as long on a CPU."""
    trials = [
        ("airbench94_w96_bn", {}),
        ("airbench94_w96_bn", {"optimizer.lr": 0.03}),
        ("airbench94_w96_bn", {"optimizer.lr": 0.1}),
        ("airbench94_w96_bn", {"optimizer.weight_decay": 0.04}),
        ("airbench94_w96_bn", {"optimizer.weight_decay": 0.15}),
        ("airbench94_bn", {"epochs": 46}),
        ("airbench94_d223_bn", {"epochs": 44}),
        ("airbench94_d233_bn", {"epochs": 36}),
    ]
    steps = []
    for model, changes in trials:
        told = {"split.holdout": 10000, **changes}
        if "epochs" in told:
            told["schedule.peak_epoch"] = round(0.18 * told["epochs"])  # as in `fast`
        sets = [f"{key}={value}" for key, value in told.items()]
        steps.append(bench(model, "fast", 0, *sets, expected=AIRBENCH, runs="studies", data=data))
    return steps


def full_plan(data: str) -> Plan:
    """In the order of their worth."""

    def standard(*models: str, seeds: tuple[int, ...] = (0,)) -> list[Step]:
        return [bench(model, "standard", seed, expected=RESNET18, data=data) for seed in seeds for model in models]

    four, others = ([f"resnet18_{norm}" for norm in norms] for norms in (NORMS, OTHER_NORMS))
    return Plan(
        speeds=[speed("resnet18", four + others, "standard", seconds=3, expected=SPEEDS, data=data)],
        large=[
            *standard(*four),
            bench("resnet18_in", "eva6s8", 1, expected=RESNET18_FP32, data=data),
            *standard(*four, seeds=(1, 2)),
            *(bench(model, "fast", seed, expected=RESNET18, data=data) for seed in range(3) for model in four[:2]),
            *standard(*others),
            bench("preact_resnet18_bn", "standard", 0, expected=RESNET18, data=data),
            *(bench(model, "standard", 0, expected=DEEP, data=data) for model in ("resnet50_bn", "wrn28_10_bn")),
        ],
        small=[
            *fast_trials(data),
            *(
                bench(f"airbench94_w96_{norm}", "fast", seed, expected=AIRBENCH, data=data)
                for seed in range(3)
                for norm in NORMS
            ),
        ],
    )


def tiny_plan() -> Plan:
    """The same commands at the size of a smoke test."""
    tiny = ("split.train=64", "split.holdout=32", "batch_size=8")
    models = ["resnet20_bn", "resnet20_ln"]
    rest = {"expected": TINY, "data": "shapes10"}
    return Plan(
        speeds=[speed("resnet20", models, "smoke", *tiny, seconds=1, **rest)],
        large=[bench(models[0], "smoke", seed, *tiny, **rest) for seed in range(2)],
        small=[
            bench(models[1], "smoke", 0, *tiny, **rest),
            bench(models[1], "smoke", 0, *tiny, "optimizer.lr=0.05", runs="studies", **rest),
        ],
    )


def zoo(arguments: tuple[str, ...], out: Path, log: Path, left: Callable[[], float]) -> tuple[int, str]:
    """Run one command in `out`; exit code and stdout. It is interrupted as by Ctrl-C when no seconds are `left`."""
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with log.open("a", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "zoo", *arguments], cwd=out, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8",
            env={**os.environ, **THREADS, "PYTHONPATH": search, "PYTHONIOENCODING": "utf-8"}, start_new_session=True,
        )  # fmt: skip
    record = out / "running" / str(process.pid)  # also the number of its process group
    record.write_text(f"{began(process.pid)}")
    try:
        while left() > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                text, _ = process.communicate(timeout=1)
                return process.returncode, text
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return INTERRUPTED, process.communicate(timeout=STOP_SECONDS)[0]
        kill(process.pid)
        return INTERRUPTED, process.communicate()[0]
    finally:
        record.unlink()


def began(pid: int) -> str | None:
    """When the process `pid` began, in the kernel's ticks (proc(5)); None where it has ended or the system hides it."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]


def kill(pid: int) -> None:
    """End a command and what it has started."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(pid)], capture_output=True, check=False)
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def end_left_over(out: Path) -> None:
    """End the commands of an earlier call that was killed: they would go on and spoil the speeds."""
    ended = 0
    for record in (out / "running").iterdir():
        pid = int(record.name)
        if began(pid) == record.read_text():  # else the number is another process' by now
            kill(pid)  # a run goes on after its last finished epoch all the same
            until = time.monotonic() + STOP_SECONDS
            while began(pid) and time.monotonic() < until:
                time.sleep(0.1)
            ended += 1
        record.unlink()
    if ended:
        print(f"ended what an earlier call had left running ({ended})", flush=True)


def keep(told: dict[str, Any], path: Path) -> None:
    """Put the models of `told` after those that earlier calls measured; at no moment is half a file there.

    What another machine measured is dropped, and so measured anew.
    """
    before = json.loads(path.read_bytes()) if path.exists() else None
    if before and before["environment"] == told["environment"]:
        told["models"] = before["models"] + told["models"]
    path.with_suffix(".part").write_text(json.dumps(told, indent=1))
    path.with_suffix(".part").replace(path)


def lacking(step: Step, out: Path) -> tuple[str, ...]:
    """The models of a speed measurement that are not in its file yet; none of a run."""
    path = out / step.output
    known = {item["model"] for item in json.loads(path.read_bytes())["models"]} if path.exists() else set()
    return tuple(model for model in step.models if model not in known)


def carry_out(step: Step, work: Work) -> None:
    """Run `step` unless it is done or no longer fits, and say what became of it."""
    mark, log = work.out / "done" / step.slug, work.out / "logs" / f"{step.slug}.txt"
    models = lacking(step, work.out)
    if mark.exists() or (step.models and not models):
        print(f"{step.name}: done before", flush=True)
        return
    left = max(0.0, work.left)
    if left <= step.expected:
        print(f"{step.name}: left for the next call (may need {step.expected:g} s, {left:.0f} s left)", flush=True)
        return
    start = time.monotonic()
    command, *options = step.arguments
    code, text = zoo((command, *models, *options, *work.where), work.out, log, lambda: work.left)
    took = time.monotonic() - start
    if models and text.startswith("{"):  # what was measured before an error or an interruption counts
        keep(json.loads(text), work.out / step.output)
    if code == 0:
        if not lacking(step, work.out):
            mark.touch()
        print(f"{step.name}: {took:.0f} s", flush=True)
    elif code in (INTERRUPTED, -signal.SIGTERM):
        print(f"{step.name}: interrupted after {took:.0f} s", flush=True)
    else:
        work.failed.append(step.name)
        said = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
        print(f"{step.name}: failed with exit code {code} after {took:.0f} s: {' '.join(said)}", flush=True)


def carry_out_lanes(plan: Plan, jobs: int, work: Work) -> None:
    """The large models one at a time, and beside them `jobs` of the small ones; with 0 none of those."""
    with ThreadPoolExecutor(1) as large, ThreadPoolExecutor(max(1, jobs)) as small:
        lanes = ((large, plan.large), (small, plan.small if jobs else []))
        waiting = [pool.submit(carry_out, step, work) for pool, steps in lanes for step in steps]
    for one in waiting:
        one.result()  # raises what a thread raised


def trials(out: Path) -> list[str]:
    """A table of the trials, best first, by held-out images alone."""
    results = [json.loads(path.read_bytes()) for path in (out / "studies").rglob("result.json")]
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


def compare(out: Path, *options: str) -> str:
    """The table of accuracies, empty where it cannot be made; it takes its own time, whatever is left of the call's."""
    command = ("compare", "runs", "--view", "quality", "--format", "markdown", *options)
    until = time.monotonic() + SUMMARY_SECONDS
    code, text = zoo(command, out, out / "logs" / "summary.txt", lambda: until - time.monotonic())
    return text if code == 0 else ""


def summarise(work: Work, baseline: str) -> str:
    """Tables of everything that is there."""
    from zoo.render.marks import disturbed_notes, recorded_speed

    parts = ["# What the GPU showed\n"]
    if work.failed:
        parts.append(f"Failed in the last call (see logs/): {', '.join(work.failed)}\n")
    for path in sorted(work.out.glob("speed-*.json")):
        told = json.loads(path.read_bytes())
        machine = told["environment"]["gpu"] or told["environment"]["cpu"]
        parts.append(f"## {path.stem} ({machine}, torch {told['environment']['torch']})\n")
        parts.append("| model | layout | train img/s | step img/s | loop/step | inference img/s | p50 ms | % of peak |")
        parts.append("| --- | --- | --: | --: | --: | --: | --: | --: |")
        parts += [
            f"| {item['model']} | {item['layout']} "
            f"| {recorded_speed(item, 'train_images_per_second', '{:,.0f}')} "
            f"| {recorded_speed(item, 'step_images_per_second', '{:,.0f}')} "
            f"| {recorded_speed(item, 'efficiency', '{:.3f}')} "
            f"| {recorded_speed(item, 'inference_images_per_second', '{:,.0f}')} "
            f"| {recorded_speed(item, 'latency_p50', '{:.2f}', 1e3)} "
            f"| {recorded_speed(item, 'peak_share', '{:.1f}', 100)} |"
            for item in told["models"]
        ]
        parts += ["", *disturbed_notes(*(item["disturbed"] for item in told["models"])), ""]
    if next((work.out / "runs").rglob("result.json"), None):
        table = compare(work.out, "--baseline", baseline) or compare(work.out)
        parts += ["## Accuracy\n", table or "No table came of it: see logs/summary.txt.\n"]
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
    parser.add_argument("--out", type=Path, required=True, help="folder for results, of one call at a time")
    parser.add_argument("--data-dir", help="folder that holds the data set (else $ZOO_DATA)")
    parser.add_argument("--dataset", default="cifar10-jpeg")
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--jobs", type=int, default=4, help="small models at a time beside a large one; 0: none")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--keep-weights", action="store_true", help="leave model.safetensors in the run folders")
    parser.add_argument("--tiny", action="store_true", help="test this file on a CPU; measures nothing")
    given = parser.parse_args()
    if given.jobs < 0:
        parser.error(f"--jobs {given.jobs}: give 0 or more")
    out = given.out.resolve()
    for folder in ("done", "logs", "running"):
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
    end_left_over(out)
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
            (out / "summary.md").write_text(
                summarise(work, "resnet20_bn" if given.tiny else "resnet18_bn"), encoding="utf-8"
            )
        finally:
            pack(out)
    print(f"wrote {out / 'summary.md'}" + f"; failed: {', '.join(work.failed)}" * bool(work.failed), flush=True)
    return 1 if work.failed else 0


if __name__ == "__main__":
    sys.exit(main())
