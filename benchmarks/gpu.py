"""What only a GPU can show, in one command that can be cut off and given again.

    python benchmarks/gpu.py --out gpu-results --data-dir FOLDER --minutes 25

Speeds first (minutes), then accuracies in the order of what they are worth; a step that is done is not done again, and
one that no longer fits the time is left for the next call. `--out` receives ``runs/`` (as `zoo bench` stores them,
without weights unless ``--keep-weights``), one JSON per speed measurement, and ``summary.md``. Needs no network.
``--tiny`` runs every kind of step at a size that a CPU does in a minute, to test this file and not to measure anything.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NORMS = ("bn", "ln", "gn", "in")
ALL_NORMS = (*NORMS, "bn_ghost", "brn", "ln2d", "rms2d", "evos0", "evob0", "frn", "ws_gn", "none")
SAVE_SECONDS = 60  # left for the summary, and for a bench that is interrupted to save its epoch


@dataclass(frozen=True)
class Step:
    """One ``zoo`` command. `output`: where its stdout goes; a step that keeps runs has none: they say what is done.

    `expected`: seconds on an H100. A step that keeps runs is begun with any time left, since it goes on later.
    """

    name: str
    arguments: tuple[str, ...]
    output: str | None = None
    expected: float = 0.0


def full_steps(dataset: str) -> list[Step]:
    """In the order of their worth."""
    fair = tuple(f"resnet18_{norm}" for norm in NORMS)
    data = ("--dataset", dataset)
    standard = ("--recipe", "standard", *data)
    return [
        Step("speed of resnet18", ("speed", *fair, *standard, "--format", "json"), "speed-resnet18.json", 120),
        Step("speed of resnet18, compiled", ("speed", *fair, *standard, "--compile", "--format", "json"),
             "speed-resnet18-compiled.json", 240),
        Step("standard, seed by seed", ("bench", *fair, *standard, "--seeds", "3")),
        Step("the reference experiment", ("bench", "resnet18_in", "--recipe", "eva6s8", *data, "--seed", "1")),
        Step("fast", ("bench", "airbench94_bn", "airbench94_ln", "resnet18_bn", "resnet18_ln", "--recipe", "fast",
                      *data, "--seeds", "3")),
        Step("speed of the other norms", ("speed", *(f"resnet18_{norm}" for norm in ALL_NORMS[4:]), *standard,
                                          "--format", "json"), "speed-norms.json", 240),
        Step("the other norms", ("bench", *(f"resnet18_{norm}" for norm in ALL_NORMS[4:]), *standard)),
        Step("large models", ("bench", "preact_resnet18_bn", "resnet50_bn", "wrn28_10_bn", *standard)),
    ]  # fmt: skip


def tiny_steps() -> list[Step]:
    """The same commands at the size of a smoke test."""
    tiny = ("--recipe", "smoke", "--set", "split.train=64", "--set", "split.holdout=32", "--set", "batch_size=8")
    models = ("resnet20_bn", "resnet20_ln")
    return [
        Step("speed", ("speed", *models, *tiny, "--seconds", "1", "--format", "json"), "speed-resnet20.json", 20),
        Step("accuracy", ("bench", *models, *tiny, "--seeds", "2", "--layout", "nchw")),
    ]


def zoo(arguments: tuple[str, ...], out: Path, seconds: float) -> tuple[int | None, str]:
    """Run one command in `out`; exit code and stdout. None when the time was up: interrupted, its epoch saved."""
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo", *arguments], cwd=out, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        text, _ = process.communicate(timeout=max(1.0, seconds))
        return process.returncode, text
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=SAVE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        return None, ""


def summarise(out: Path, baseline: str) -> str:
    """Tables of everything that is there."""
    parts = ["# What the GPU showed\n"]
    for path in sorted(out.glob("speed-*.json")):
        told = json.loads(path.read_text())
        machine = told["environment"]["gpu"] or told["environment"]["cpu"]
        parts.append(f"## {path.stem} ({machine}, torch {told['environment']['torch']})\n")
        parts.append("| model | train img/s | step img/s | loop/step | inference img/s | p50 ms | % of peak |")
        parts.append("| --- | --: | --: | --: | --: | --: | --: |")
        parts += [
            f"| {item['model']} | {item['train_images_per_second']:,.0f} | {item['step_images_per_second']:,.0f} "
            f"| {item['efficiency']:.3f} | {item['inference_images_per_second']:,.0f} "
            f"| {1e3 * item['latency_p50']:.2f} | {100 * item['peak_share']:.1f} |"
            for item in told["models"]
        ]
        parts.append("")
    if next((out / "runs").rglob("result.json"), None):
        code, text = zoo(("compare", "runs", "--baseline", baseline, "--format", "markdown"), out, 120)
        parts += ["## Accuracy\n", text if code == 0 else zoo(("compare", "runs", "--format", "markdown"), out, 120)[1]]
    return "\n".join(parts)


def main() -> int:
    """Do what fits the time; exit code 0 when nothing failed, whether or not everything was reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for results; given again, it goes on there")
    parser.add_argument("--data-dir", help="folder that holds the data set (else $ZOO_DATA)")
    parser.add_argument("--dataset", default="cifar10-jpeg")
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--keep-weights", action="store_true", help="leave model.safetensors in the run folders")
    parser.add_argument("--tiny", action="store_true", help="test this file on a CPU; measures nothing")
    given = parser.parse_args()
    out, deadline, failed = given.out.resolve(), time.monotonic() + 60 * given.minutes, []
    out.mkdir(parents=True, exist_ok=True)
    where = ("--device", given.device, *(("--data-dir", str(Path(given.data_dir).resolve())) if given.data_dir else ()))
    for step in tiny_steps() if given.tiny else full_steps(given.dataset):
        left = deadline - time.monotonic() - SAVE_SECONDS
        if step.output and (out / step.output).is_file():
            print(f"{step.name}: done before", flush=True)
            continue
        if left < step.expected or left <= 0:
            print(f"{step.name}: left for the next call ({left:.0f} s left)", flush=True)
            continue
        print(f"{step.name}: zoo {' '.join(step.arguments)}", flush=True)
        start = time.monotonic()
        code, text = zoo((*step.arguments, *where), out, left)
        took = time.monotonic() - start
        if code is None:
            print(f"{step.name}: interrupted after {took:.0f} s, goes on with the next call", flush=True)
        elif code != 0:
            failed.append(step.name)
            print(f"{step.name}: failed with exit code {code} after {took:.0f} s", flush=True)
        else:
            print(f"{step.name}: {took:.0f} s", flush=True)
            if step.output:
                (out / step.output).write_text(text)
    (out / "summary.md").write_text(summarise(out, "resnet20_bn" if given.tiny else "resnet18_bn"))
    if not given.keep_weights:
        for weights in out.rglob("model.safetensors"):
            weights.unlink()
    print(f"wrote {out / 'summary.md'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
