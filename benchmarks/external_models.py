"""The models of timm and torchvision under ``zoo bench``, ``zoo explain`` and ``zoo export``.

``python benchmarks/external_models.py sample`` draws 60 models of timm by ``--seed``, each of a family of its own and
under 40 million parameters. Each is benched for one step on images of noise, explained, and exported.
``python benchmarks/external_models.py table`` does so for a member of each family of timm and for every model of
torchvision that fits 8 GB (110 million parameters), and benches each again with its norms swapped. The variable
ZOO_TRIAL_GB sets another limit. ``page`` writes the table of docs/external-models.md from what is on record; larger
models are built there, as shapes without values.

Outcomes are kept in ``--record``, so each command resumes after an interruption. Delete a line there to repeat it.
Exit code 1 where a model ended neither in a result nor in a line that names it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from attempts import BAD, BENCH, DONE, EXPLAIN, EXPORT, HEAD, MEMORY, REFUSED, Outcome, Record, attempts, workplace
from torch.overrides import TorchFunctionMode

from zoo.builder.construct import build, load_norm
from zoo.builder.norm import Norm
from zoo.errors import RegistryError
from zoo.models.swap import swap
from zoo.registry.merge import load_registry

DOCS = Path(__file__).parents[1] / "docs" / "external-models.md"
RECORD = Path(__file__).parent / "figures" / "external-models.jsonl"
BEGIN, END = "<!-- models -->", "<!-- end -->"

# One small member of each family: of each file of timm/models, which is named first.
TIMM = {
    "byoanet": "lambda_resnet26t",
    "byobnet": "repvgg_a0",
    "cait": "cait_xxs24_224",
    "coat": "coat_lite_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "convnext_atto",
    "convit": "convit_tiny",
    "crossvit": "crossvit_9_240",
    "cspnet": "cspresnet50",
    "davit": "davit_tiny",
    "deit": "deit_tiny_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46_c",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "efficientnet_b0",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "eva02_tiny_patch14_224",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_a",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hrnet": "hrnet_w18_small",
    "inception_next": "inception_next_atto",
    "inception_v3": "inception_v3",
    "levit": "levit_conv_128s",
    "mambaout": "mambaout_femto",
    "maxxvit": "coatnet_nano_rw_224",
    "metaformer": "poolformer_s12",
    "mlp_mixer": "mixer_s32_224",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilevit": "mobilevitv2_050",
    "mvitv2": "mvitv2_tiny",
    "nest": "nest_tiny",
    "nfnet": "nf_resnet26",
    "pit": "pit_ti_224",
    "pvt_v2": "pvt_v2_b0",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m0_9",
    "res2net": "res2net50_14w_8s",
    "resnest": "resnest14d",
    "resnet": "resnet18",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s1",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "visformer": "visformer_tiny",
    "vision_transformer": "vit_tiny_patch16_224",
    "vision_transformer_relpos": "vit_relpos_small_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41",
    "xcit": "xcit_nano_12_p16_224",
}
NORM = "gn"
LARGEST = MEMORY // 78  # parameters; what has more does not fit, and is run without values, as shapes
SAMPLED = 40_000_000  # parameters; a sample has no larger model
SAMPLE = 60
_FILLED = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
_SET = {"uniform_", "normal_", "erfinv_", "mul_", "add_", "clamp_", "fill_", "zero_"}  # values, which shapes lack


class Shapes(TorchFunctionMode):
    """Tensors are made on the meta device: shapes without values, memory or arithmetic; those of one shape are equal.

    All but ranges, from which a model may count its layers as it is built.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        first = next(iter([*args, *kwargs.values()]), None)
        if getattr(func, "__name__", "") in _SET and isinstance(first, torch.Tensor) and first.is_meta:
            return first
        if func is torch.equal and isinstance(first, torch.Tensor) and first.is_meta:
            return args[0].shape == args[1].shape
        if func in _FILLED and kwargs.get("device") is None:
            kwargs = kwargs | {"device": "meta"}
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Row:
    """One line of the table: a model, its parameters in millions for ten classes, and what each command did."""

    model: str
    parameters: str
    bench: str
    explain: str
    export: str
    swapped: str

    @property
    def line(self) -> str:
        """As it stands in the table."""
        return f"| {' | '.join(vars(self).values())} |"


COLUMNS = ("model", "parameters (millions, 10 classes)", BENCH, EXPLAIN, EXPORT, f"swapped by @{NORM}")
YES, UNTRIED = "yes", "not tried"


def names() -> list[str]:
    """All models of the table."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    return [f"timm:{name}" for name in TIMM.values()] + [f"torchvision:{name}" for name in known]


@functools.cache
def count(name: str) -> int:
    """Parameters of the library's own model for ten classes, without memory for them."""
    import timm
    import torchvision

    library, _, plain = name.partition(":")
    with Shapes():
        if library == "timm":
            model = timm.create_model(plain, num_classes=10)
        else:
            extra = {"init_weights": False} if plain in ("googlenet", "inception_v3") else {}
            model = torchvision.models.get_model(plain, num_classes=10, **extra)
    return sum(parameter.numel() for parameter in model.parameters())


def built(name: str) -> tuple[str, str]:
    """Parameters of `name` and the report of its swapped norms, from building it and two images of 32x32.

    A model with more than :data:`LARGEST` parameters is run as shapes only.
    """
    # swin_v2 computes its tables from ranges, which have values here.
    real = name.startswith(("timm:", "torchvision:swin_v2")) or count(name) <= LARGEST
    with contextlib.nullcontext() if real else Shapes():
        try:
            model = build(load_registry().resolve(name)).eval()
        except RegistryError as problem:
            return "-", _reason(str(problem), name)
        parameters = _millions(sum(parameter.numel() for parameter in model.parameters()))
        _check_logits(name, model, real)
        try:
            report = swap(name, model, _norm(), (3, 32, 32))
        except RegistryError as problem:
            return parameters, _reason(str(problem), name)
        _check_logits(f"{name}@{NORM}", model, real)
    return parameters, report.removeprefix(f"{NORM} instead of ")


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:.1f}"


def _reason(line: str, name: str) -> str:
    return "no: " + re.sub(rf"^.*?{re.escape(name)}(@\w+)?[^ ]*: ", "", line).replace("|", "/")


def _norm() -> Norm:
    return load_norm(load_registry().norms[NORM])


def _check_logits(name: str, model: torch.nn.Module, real: bool) -> None:
    """Two images of 32x32 give (2, 10) logits, and numbers where there are values."""
    with torch.no_grad():
        logits = model(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 10), f"{name} gives {tuple(logits.shape)}"
    assert not real or logits.isfinite().all(), f"{name} gives what is not finite"


def tried(name: str, record: Record, seconds: float, swapped: bool) -> Iterator[Outcome]:
    """Bench, explanation and export of `name`, and a bench of it with its norms `swapped`."""
    plain = list(attempts(name, [BENCH, EXPLAIN, EXPORT], record, seconds))
    yield from plain
    if swapped and plain[0].kind == DONE:
        yield from attempts(f"{name}@{NORM}", [BENCH], record, seconds)


def row_of(name: str, record: Record, before: list[str]) -> Row:
    """The row of a model by what is on record; the rest is as it was `before`, and built where it was not."""
    bench = record.outcomes.get((name, BENCH))
    if bench is None or bench.kind != DONE:
        parameters, swapped = built(name) if bench or not before else (before[1], before[-1])
    else:
        parameters, swapped = _millions(bench.parameters), before[-1] if before else "-"
    cells = []
    for command in (BENCH, EXPLAIN, EXPORT):
        outcome = record.outcomes.get((name, command))
        rest = UNTRIED if bench is None or bench.kind == DONE else "-"
        cells.append(rest if outcome is None else YES if outcome.kind == DONE else _reason(outcome.line, name))
    if (outcome := record.outcomes.get((f"{name}@{NORM}", BENCH))) is not None:
        report = outcome.line.partition(f"{NORM} instead of ")[2]
        swapped = report if outcome.kind == DONE else _reason(outcome.line, name)
    return Row(name, parameters, *cells, swapped)


def written() -> dict[str, list[str]]:
    """The cells of the table in the docs, by model."""
    text = DOCS.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    lines = [line for line in text.splitlines() if line.startswith(("| timm:", "| torchvision:"))]
    rows = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines]
    return {row[0]: row for row in rows}


def drawn(seed: int) -> list[str]:
    """:data:`SAMPLE` names of timm, each from a family (a file of timm/models) of its own and not too large."""
    import timm

    draw = random.Random(seed)
    families = timm.list_modules()
    draw.shuffle(families)
    names = []
    for family in families:
        members = [f"timm:{name}" for name in timm.list_models(module=family) if not name.startswith("test_")]
        draw.shuffle(members)
        names += itertools.islice((name for name in members if count(name) < SAMPLED), 1)
    return names[:SAMPLE]


def write_table(record: Record) -> None:
    """Put the table into the docs."""
    before, _, after = DOCS.read_text(encoding="utf-8").partition(BEGIN)
    old = written()
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    lines += [row_of(name, record, old.get(name, [])).line for name in names()]
    DOCS.write_text("\n".join([f"{before}{BEGIN}", *lines, f"{END}{after.partition(END)[2]}"]), encoding="utf-8")


def main() -> int:
    """Try the models and print how each ended, then totals; or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("sample", "table", "page"), help="which models to try, or write the page")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--seconds", type=float, default=600, help="the most that a command may take")
    parser.add_argument("--record", type=Path, default=RECORD, help="file of the outcomes so far [benchmarks/figures]")
    chosen = parser.parse_args()
    record = Record(chosen.record.resolve())
    if chosen.what == "page":
        write_table(record)
        return 0
    table = chosen.what == "table"
    ends = Counter[str]()
    print(HEAD, flush=True)
    with workplace(10):
        for name in sorted(names() if table else drawn(chosen.seed), key=count):  # small ones first
            if count(name) <= LARGEST:
                outcomes = list(printed(tried(name, record, chosen.seconds, swapped=table)))
                ends[max((outcome.kind for outcome in outcomes), key=[DONE, REFUSED, BAD].index)] += 1
    print(
        f"\n{ends[DONE]} of {ends.total()} pass in all, {ends[REFUSED]} are refused in one line that names them, "
        f"{ends[BAD]} end otherwise"
    )
    return 1 if ends[BAD] else 0


def printed(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    """The same, each printed as a line of a table."""
    for outcome in outcomes:
        print(outcome.row, flush=True)
        yield outcome


if __name__ == "__main__":
    sys.exit(main())
