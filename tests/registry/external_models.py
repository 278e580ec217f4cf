"""The models of other libraries that are tried one by one, and the table of docs/external-models.md.

``python tests/registry/external_models.py`` tries them all, a quarter of an hour, and writes the table anew.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from zoo.builder.construct import build, load_norm
from zoo.builder.norm import Norm
from zoo.errors import RegistryError
from zoo.models.swap import swap
from zoo.registry.merge import load_registry

DOCS = Path(__file__).parents[2] / "docs" / "external-models.md"
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
REAL = 30_000_000  # parameters; what has more is run without values, as shapes
_FILLED = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}


class Shapes(TorchFunctionMode):
    """Tensors are made on the meta device: shapes without values, memory or arithmetic.

    All but ranges, from which a model may count its layers as it is built.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _FILLED and kwargs.get("device") is None:
            kwargs = kwargs | {"device": "meta"}
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Row:
    """One line of the table: the model's name, its parameters in millions for ten classes, and what swapping did."""

    model: str
    parameters: str
    swapped: str

    @property
    def line(self) -> str:
        """As it stands in the table."""
        return f"| {self.model} | {self.parameters} | {self.swapped} |"


def names() -> list[str]:
    """All that are tried."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    return [f"timm:{name}" for name in TIMM.values()] + [f"torchvision:{name}" for name in known]


def count(name: str) -> int:
    """Parameters of torchvision's own model, without memory for them."""
    import torchvision

    plain = name.partition(":")[2]
    extra = {"init_weights": False} if plain in ("googlenet", "inception_v3") else {}
    with Shapes():
        model = torchvision.models.get_model(plain, **extra)
    return sum(parameter.numel() for parameter in model.parameters())


def attempt(name: str) -> Row:
    """Build `name`, put 2 images of 32x32 through it, and again with its norms swapped; what came of it."""
    # swin_v2 computes its tables from ranges, which have values here.
    real = name.startswith(("timm:", "torchvision:swin_v2")) or count(name) <= REAL
    with contextlib.nullcontext() if real else Shapes():
        try:
            model = build(load_registry().resolve(name)).eval()
        except RegistryError as problem:
            return Row(name, "-", _reason(problem, name))
        parameters = f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f}"
        check_answer(name, model, real)
        try:
            told = swap(name, model, norm(), (3, 32, 32)).removeprefix(f"{NORM} instead of ")
        except RegistryError as problem:
            return Row(name, parameters, _reason(problem, name))
        check_answer(f"{name}@{NORM}", model, real)
    return Row(name, parameters, told)


def _reason(problem: RegistryError, name: str) -> str:
    return "no: " + re.sub(rf"^{re.escape(name)}(@\w+)?: ", "", str(problem)).replace("|", "/")


def norm() -> Norm:
    """The norm that all are swapped for."""
    return load_norm(load_registry().norms[NORM])


def check_answer(name: str, model: torch.nn.Module, real: bool) -> None:
    """Two images of 32x32 give (2, 10) logits, and numbers where there are values."""
    with torch.no_grad():
        answer = model(torch.rand(2, 3, 32, 32))
    assert answer.shape == (2, 10), f"{name} answers {tuple(answer.shape)}"
    assert not real or answer.isfinite().all(), f"{name} answers what is no number"


def table(say: Callable[[str], None]) -> list[Row]:
    """The rows of all models."""
    rows = []
    for name in names():
        start = time.perf_counter()
        rows.append(attempt(name))
        say(f"{time.perf_counter() - start:5.1f} s {rows[-1].line}")
    return rows


def rendered(rows: list[Row]) -> str:
    """The table as Markdown."""
    head = f"| model | parameters (millions, 10 classes) | swapped by @{NORM} |\n| --- | --- | --- |\n"
    return head + "\n".join(row.line for row in rows) + "\n"


def written() -> dict[str, str]:
    """The lines of the table in the docs, by model."""
    text = DOCS.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    lines = [line for line in text.splitlines() if line.startswith(("| timm:", "| torchvision:"))]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


if __name__ == "__main__":
    found = rendered(table(lambda line: print(line, file=sys.stderr, flush=True)))
    before, _, after = DOCS.read_text(encoding="utf-8").partition(BEGIN)
    DOCS.write_text(f"{before}{BEGIN}\n{found}{END}{after.partition(END)[2]}", encoding="utf-8")
