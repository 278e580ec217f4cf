"""A user's mistake, through the command line: one line that says what to do, exit code 2, no traceback.

In this process, which has torch already; some in a process of their own as well, and all of them with ``-m slow``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from zoo.registry.model import BUILT_IN

BENCH = ("bench", "resnet20_bn", "--recipe", "smoke")
SMALL = "[{Resize: {height: 8, width: 9}}]"
MY_NORM = 'norms:\n  mine: "my_norm:mine"\n'
VIEWER = """from torch import nn


class mine(nn.GroupNorm):
    def __init__(self, num_channels):
        super().__init__(1, num_channels)

    def forward(self, x):
        return super().forward(x.view(len(x), 2, -1).view_as(x))
"""


@dataclass(frozen=True)
class Mistake:
    """`says` is what the one line must hold: the wrong value, and the nearest right one or what to do.

    `{here}` in arguments, `env` and `says` stands for the working folder; `files` are put there first.
    """

    name: str
    arguments: tuple[str, ...]
    says: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)


def change(name: str, setting: str, *says: str) -> Mistake:
    """A wrong ``--set``."""
    return Mistake(name, (*BENCH, "--set", setting), says)


def registry(name: str, text: str, *says: str, **files: str) -> Mistake:
    """A wrong ``registry.yaml`` in the working folder."""
    return Mistake(name, ("list",), says, {"registry.yaml": text, **files})


def my_norm(name: str, code: str | None, *says: str, line: str = MY_NORM) -> Mistake:
    """A right ``registry.yaml``, and a wrong ``my_norm.py`` beside it."""
    files = {"registry.yaml": line} | ({"my_norm.py": code} if code is not None else {})
    return Mistake(name, ("show", "resnet20_mine"), says, files)


NAMES = [
    Mistake("model", ("show", "alexnet"), ("unknown model 'alexnet'", "`zoo list`")),
    Mistake("norm part", ("bench", "resnet18_lm"), ("'resnet18_lm'", "did you mean", "'resnet18_ln'")),
    Mistake("norm part, nothing near", ("show", "vgg16_layernormalization"),
            ("'vgg16_layernormalization'", "vgg16 takes:", "ln2d")),
    Mistake("architecture part", ("bench", "resnet19_ln"), ("'resnet19_ln'", "did you mean", "'resnet18_ln'")),
    Mistake("an architecture alone", ("bench", "resnet18"),
            ("'resnet18' is the name of an architecture", "resnet18_bn, ", "`zoo list 'resnet18_*'` shows them all")),
    Mistake("a norm alone", ("show", "gn"),
            ("'gn' is the name of a norm", "resnet18_gn, ", "`zoo list '*_gn'` shows them all")),
    Mistake("pattern", ("bench", "vit*_ln"), ("'vit*_ln'", "no name matches", "`zoo list --all`")),
    Mistake("pattern of list", ("list", "resnet*_lnn"), ("'resnet*_lnn'", "`zoo list --all`")),
    Mistake("command", ("benhc",), ("unknown command 'benhc'", "did you mean 'bench'")),
    Mistake("subcommand", ("data", "verfy"), ("unknown command 'verfy'", "did you mean 'verify'")),
    Mistake("option", ("bench", "resnet18_bn", "--recip", "smoke"), ("--recip", "--recipe")),
    Mistake("no model", ("bench",), ("Missing argument", "MODEL")),
    Mistake("seeds not a number", (*BENCH, "--seeds", "three"), ("--seeds", "'three'", "integer")),
    Mistake("no seeds", (*BENCH, "--seeds", "0"), ("--seeds", "0", "1<=x<=10000")),
    Mistake("layout", (*BENCH, "--layout", "nhwc"), ("'nhwc'", "'channels_last'", "'nchw'")),
    Mistake("layout by the clock", (*BENCH, "--layout", "auto"),
            ("--layout", "auto is for `zoo speed` only", "leave it out", "'nchw' or 'channels_last'")),
    Mistake("one class", ("show", "resnet18_ln", "--classes", "1"), ("--classes", "1", "2<=x<=10000")),
    Mistake("shell", ("completion", "powershell"), ("'powershell'", "'bash'", "'zsh'", "'fish'")),
    Mistake("runs folder is a file", (*BENCH, "--runs", "results.txt"), ("--runs", "results.txt", "is a file"),
            {"results.txt": "mine"}),
]  # fmt: skip

RECIPES = [
    Mistake("recipe", ("bench", "resnet20_bn", "--recipe", "standart"), ("'standart'", "did you mean 'standard'")),
    Mistake("recipe, nothing near", ("bench", "resnet20_bn", "--recipe", "imagenet"),
            ("'imagenet'", "smoke", "standard", "path")),
    Mistake("recipe file", ("bench", "resnet20_bn", "--recipe", "mine.yaml"),
            ("mine.yaml", "does not exist", "standard")),
    Mistake("recipe key", ("bench", "resnet20_bn", "--recipe", "mine.yaml"),
            ("mine.yaml", "unknown key 'optimizer.lrr'", "did you mean 'lr'"),
            {"mine.yaml": "extends: smoke\noptimizer: {lrr: 0.1}\n"}),
    Mistake("recipe key at the top", ("bench", "resnet20_bn", "--recipe", "mine.yaml"),
            ("mine.yaml", "unknown key 'epoch'", "did you mean 'epochs'"),
            {"mine.yaml": "extends: smoke\nepoch: 3\n"}),
    Mistake("recipe syntax", ("bench", "resnet20_bn", "--recipe", "./mine.yaml"), ("mine.yaml:3", "not valid YAML"),
            {"mine.yaml": "extends: smoke\nepochs: 3\nloss: }\n"}),
    Mistake("recipe base", ("bench", "resnet20_bn", "--recipe", "mine.yaml"), ("'smoky'", "did you mean 'smoke'"),
            {"mine.yaml": "extends: smoky\n"}),
    change("set key", "optimizer.lrr=0.1", "unknown key 'optimizer.lrr'", "did you mean --set optimizer.lr=0.1?"),
    change("set section", "optimiser.lr=0.1", "'optimiser'", "did you mean --set optimizer.lr=0.1?"),
    change("set top key", "epoch=3", "'epoch'", "did you mean --set epochs=3?"),
    change("set key without its section", "lr=0.1", "'lr'", "did you mean --set optimizer.lr=0.1?"),
    change("set the name of an optimizer", "adam", "--set adam: expected key=value", "--set 'optimizer={name: adamw, "),
    change("set an option", "seed=1", "--set seed=1", "an option of its own; give --seed 1"),
    change("set a switch of the command", "deterministic", "--set deterministic", "give --deterministic"),
    change("set text for a number", "epochs=many", "epochs", "'many'", "integer"),
    change("set a fraction for a number", "epochs=2.5", "epochs", "2.5", "integer"),
    change("set out of range", "optimizer.lr=-1", "optimizer.lr", "-1", "greater than 0"),
    change("set one of", "precision=fp8", "precision", "'fp8'", "'bf16'", "'fp16'"),
    change("set without equals", "epochs", "--set epochs", "key=value", "did you mean --set epochs=2?"),
    change("set incoherent", "schedule.peak_epoch=2", "schedule.peak_epoch", "before the last of the 2 epochs"),
]  # fmt: skip

DATA = [
    Mistake("data set", ("data", "verify", "cifar11"), ("'cifar11'", "did you mean", "'cifar10'")),
    Mistake("data set of bench", (*BENCH, "--dataset", "shapes11"), ("'shapes11'", "did you mean 'shapes10'")),
    Mistake("data folder missing", (*BENCH, "--dataset", "./photos"), ("./photos", "does not exist", "parquet",
            "class folders")),
    Mistake("data folder empty", (*BENCH, "--dataset", "./photos"), ("photos", "no dataset in it", "train-*.parquet"),
            {"photos/.keep": ""}),
    Mistake("data folder of something else", ("data", "show", "./photos"),
            ("photos", "images outside class folders (a.png)", "train/<class>/"),
            {"photos/a.png": "x", "photos/notes.txt": "x"}),
    Mistake("data not there", ("data", "verify", "cifar10-jpeg", "--data-dir", "empty"),
            ("'cifar10-jpeg'", "looked in {here}/empty", "ZOO_DATA", "--data-dir"), {"empty/.keep": ""}),
    Mistake("no such data dir", ("data", "verify", "cifar10-jpeg", "--data-dir", "nowhere"),
            ("--data-dir {here}/nowhere", "is not there", "name a folder")),
    Mistake("data archive not there", ("bench", "resnet20_bn", "--data-dir", "empty"),
            ("'cifar10'", "{here}/empty", "cifar-10-python.tar.gz", "shapes10"), {"empty/.keep": ""}),
    Mistake("cache is a file", ("data", "verify", "shapes10"), ("{here}/cache", "set ZOO_CACHE"), {"cache": "x"},
            {"ZOO_CACHE": "{here}/cache"}),
]  # fmt: skip

REGISTRIES = [
    registry("registry syntax", "norms:\n  mine: {builder: my_norm:mine\n  other: 1\n", "{here}/registry.yaml:3",
             "not valid YAML"),
    registry("registry is a list", "- norms\n", "{here}/registry.yaml:1", "expected a mapping", "a list"),
    registry("registry section", "norm:\n  mine: my_norm:mine\n", "registry.yaml:1", "'norm'", "did you mean 'norms'"),
    registry("registry type", "norms:\n  mine:\n    builder: my_norm:mine\n    kwargs: 3\n",
             "{here}/registry.yaml:4", "'mine'", "kwargs", "expected a mapping", "3"),
    registry("registry entry type", "norms:\n\n  mine: 7\n", "registry.yaml:3", "'mine'", '"module:function"',
             "a number"),
    registry("registry builder", 'norms:\n  mine: "my_norm.mine"\n', "registry.yaml:2", "'my_norm.mine'",
             '"module:function"'),
    registry("registry key", "norms:\n  mine: {bilder: my_norm:mine}\n", "registry.yaml:2", "'bilder'",
             "did you mean 'builder'"),
    registry("registry choice", "norms:\n  mine: {builder: 'm:f', activation: yes}\n", "registry.yaml:2", "activation",
             "'included'"),
    registry("registry name", "norms:\n  my norm: my_norm:mine\n", "registry.yaml:2", "'my norm'", "letters"),
    registry("registry given twice", "norms:\n  a: m:f\n  a: m:g\n", "registry.yaml:3", "'a'", "twice", "line 2"),
    registry("registry duplicate", "norms:\n  bn: my_norm:mine\n",
             "'bn'", "defined twice", f"{BUILT_IN}:", " and {here}/registry.yaml:2", "override: true"),
    registry("registry model", "models:\n  mine: {architecture: resnet18, norm: bnn}\n",
             "unknown norm 'bnn'", "{here}/registry.yaml:2", "did you mean", "'bn'"),
    Mistake("variable", ("list",), ("$ZOO_REGISTRY", "{here}/nowhere.yaml", "no such file", "give the path"), {},
            {"ZOO_REGISTRY": "{here}/nowhere.yaml"}),
    Mistake("registry option", ("list", "--registry", "nowhere.yaml"), ("--registry", "nowhere.yaml", "no such file")),
]  # fmt: skip

BUILDERS = [
    my_norm("module", None, "registry.yaml:2", "no module 'my_norm'", "{here}"),
    my_norm("module, mistyped", "", "no module 'my_nrom'", "did you mean 'my_norm'",
            line='norms:\n  mine: "my_nrom:mine"\n'),
    my_norm("function", "def mime(num_channels): ...\n", "registry.yaml:2", "'my_norm' has no 'mine'",
            "did you mean 'mime'"),
    my_norm("signature", "def mine(): ...\n", "registry.yaml:2", "my_norm:mine()",
            "cannot be called with (num_channels)"),
    my_norm("no torch module", "def mine(num_channels):\n    return num_channels\n",
            "registry.yaml:2", "returned int", "expected a torch.nn.Module"),
    my_norm("builder fails", "def mine(num_channels):\n    return {}['a\\nb']\n", "registry.yaml:2", "my_norm:mine",
            "KeyError"),
    # The usual one: torch's LayerNorm wants channels last. It builds, and fails with the first image.
    my_norm("layer fails", "from torch import nn\n\n\ndef mine(num_channels):\n    return nn.LayerNorm(num_channels)\n",
            "resnet20_mine", "RuntimeError", "normalized_shape"),
    Mistake("layer fails in channels-last", ("bench", "resnet20_mine", "--recipe", "smoke", "--layout",
            "channels_last"), ("registry.yaml:2", "channels-last): RuntimeError: view size", "`layout: nchw`"),
            {"registry.yaml": MY_NORM, "my_norm.py": VIEWER}),
    my_norm("code does not parse", "def mine(:\n", "registry.yaml:2", "'my_norm'", "SyntaxError", "line 1"),
    my_norm("code needs a package", "import no_such_package\n", "'my_norm'", "no_such_package", "install it"),
]  # fmt: skip

ENGINE = [
    change("transform", "augment.train=[{HorizontalFlop: {p: 0.5}}]",
           "augment.train", "'HorizontalFlop'", "did you mean", "'HorizontalFlip'"),
    change("transform argument", "augment.eval=[{Resize: {heigth: 16, width: 16}}]",
           "augment.eval", "'heigth'", "did you mean", "'height'"),
    change("crop larger than the image", "augment.train=[{RandomCrop: {height: 64, width: 64}}]",
           "RandomCrop", "64x64", "32x32"),
    change("shift", "shifted_evaluation=9", "shifted_evaluation", "less than or equal to 8", "found 9"),
    change("key of a section", "lookahead={decy: 0.9, power: 1}", "lookahead.decy'", "did you mean", "decay: 0.95"),
    change("nesterov without momentum", "optimizer={name: muon, lr: 0.1, momentum: 0, nesterov: true, "
           "adamw_lr_scale: 0.1, betas: [0.9, 0.95], weight_decay: 0, decay_norm_and_bias: false}", "nesterov",
           "momentum"),
    change("images of two sizes", f"augment.eval={SMALL}", "trains on images of 16x16 and evaluates on 9x8",
           "--set other_evaluation_size=true"),
    Mistake("shift of small images",
            (*BENCH, "--set", "shifted_evaluation=8", *(f"--set=augment.{part}={SMALL}" for part in ("train", "eval"))),
            ("shifted_evaluation", "8 pixels", "9x8", "shifted_evaluation=null")),
    change("batch size", "batch_size=5000", "batch_size 5000", "3200 training images"),
    change("holdout", "split.holdout=6000", "9200 images", "shapes10 has 5000", "give --set split.holdout=500"),
    Mistake("device", (*BENCH, "--device", "gpu"), ("--device gpu", "use auto, cpu, cuda")),
    Mistake("device number", (*BENCH, "--device", "cuda:9"), ("--device cuda:9", "GPU"), {},
            {"CUDA_VISIBLE_DEVICES": ""}),
    Mistake("executor", (*BENCH, "--executor", "batched", "--set", "augment.train=[{GaussNoise: {}}]"),
            ("GaussNoise", "no batched form", "albumentations")),
    Mistake("runs folder below a file", (*BENCH, "--runs", "results.txt/runs"), ("results.txt/runs", "--runs"),
            {"results.txt": "mine"}),
]  # fmt: skip

RESULTS = [
    Mistake("compare nothing", ("compare",), ("no runs in runs", "`zoo bench MODEL`")),
    Mistake("compare folder missing", ("compare", "old-runs"), ("old-runs", "no such folder", "`zoo bench MODEL`")),
    Mistake("compare folder empty", ("compare", "old-runs"), ("no result.json", "old-runs", "`zoo bench MODEL`"),
            {"old-runs/.keep": ""}),
    Mistake("no result file", ("compare", "notes.md"), ("notes.md", "no result.json", "a folder of runs"),
            {"notes.md": "# Notes"}),
    Mistake("differences from nothing", ("compare", "--view", "differences"), ("--view differences", "--baseline")),
    Mistake("result damaged", ("compare",), ("runs/a/result.json", "not valid JSON", "damaged"),
            {"runs/a/result.json": '{"schema_version": 1, "stat'}),
    Mistake("result empty", ("compare", "runs/a/result.json"), ("runs/a/result.json", "not valid JSON", "damaged"),
            {"runs/a/result.json": ""}),
    Mistake("result newer", ("compare",), ("runs/a/result.json", "schema version 4", "up to 3", "upgrade zoo"),
            {"runs/a/result.json": json.dumps({"schema_version": 4, "status": "finished"})}),
    Mistake("result incomplete", ("compare",), ("runs/a/result.json", "status", "damaged or edited"),
            {"runs/a/result.json": json.dumps({"schema_version": 1})}),
    Mistake("result of another kind", ("compare",), ("runs/a/result.json", "damaged or edited"),
            {"runs/a/result.json": "[1, 2]"}),
    Mistake("format", ("compare", "--format", "html"), ("'html'", "'markdown'", "'latex'")),
]  # fmt: skip

MISTAKES = [*NAMES, *RECIPES, *DATA, *REGISTRIES, *BUILDERS, *ENGINE, *RESULTS]
# One of each kind, with what a process may do otherwise: its own start, environment, imports and end.
STARTED = {"command", "recipe syntax", "data folder empty", "variable", "layer fails", "device number", "result empty"}


def named(mistake: Mistake) -> str:
    """Its name on pytest's command line."""
    return mistake.name.replace(" ", "-")


@pytest.mark.parametrize("mistake", MISTAKES, ids=named)
def test_mistake(inline_cli, tmp_path: Path, figure, mistake: Mistake):
    make(inline_cli, tmp_path, mistake)
    figure("mistakes tried")


@pytest.mark.parametrize(
    "mistake",
    [pytest.param(it, marks=() if it.name in STARTED else pytest.mark.slow, id=named(it)) for it in MISTAKES],
)
def test_mistake_in_a_process(zoo_cli, tmp_path: Path, mistake: Mistake):
    make(zoo_cli, tmp_path, mistake)


def make(cli, tmp_path: Path, mistake: Mistake) -> None:
    """Exit code 2, nothing on stdout, and one line on stderr that helps."""
    for name, text in mistake.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def here(text: str) -> str:
        return text.replace("{here}", str(tmp_path))

    output = cli(*map(here, mistake.arguments), **{key: here(value) for key, value in mistake.env.items()})
    check(output, [here(part) for part in mistake.says])
    kept = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {name for name in kept if "__pycache__" not in name} == set(mistake.files), "a mistake leaves no files"


def check(output, says: list[str]) -> None:
    """One helpful line."""
    assert "Traceback" not in output.stdout + output.stderr
    assert output.returncode == 2, output.stderr
    for part in says:
        assert part in output.stderr, f"not said: {part}"
    assert output.stdout == ""
    assert output.stderr.startswith("zoo: "), output.stderr
    assert len(output.lines) == 1, output.stderr


def test_truncated_parquet(inline_cli, tmp_path):
    """A download that broke off, of a file that begins as parquet files do."""
    folder = tmp_path / "data" / "cifar10-jpeg"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        (folder / f"{split}-00000-of-00001.parquet").write_bytes(b"PAR1" + bytes(range(256)) * 40)
    output = inline_cli("bench", "resnet20_bn", "--recipe", "smoke", "--dataset", "cifar10-jpeg", "--data-dir", "data")
    check(output, [f"{folder}/train-00000-of-00001.parquet", "truncated or corrupted", "fetch it again"])


def test_missing_shard(inline_cli, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "train-00000-of-00002.parquet").write_bytes(b"PAR1")
    check(
        inline_cli("data", "verify", "./photos"),
        [str(folder), "train shard 1 of 2 is missing", "fetch what is missing"],
    )


def test_there_are_enough():
    """The issue asks for 20; every one has its own name."""
    assert {mistake.name for mistake in MISTAKES} >= STARTED
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES) >= 24
