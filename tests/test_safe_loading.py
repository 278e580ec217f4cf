"""Nothing that zoo reads can bring code with it: the package is searched for whatever could load some."""

from __future__ import annotations

import ast
import os
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoo
from zoo.data.readers.archive import read_archive
from zoo.errors import DataError

PACKAGE = Path(zoo.__file__).parent
MODULES = {"pickle", "_pickle", "cPickle", "dill", "joblib", "cloudpickle", "marshal", "shelve", "torch.package"}
WRITERS = {"marshal.dumps"}  # of such modules: they read nothing
CALLS = {
    "eval", "exec", "compile", "__import__", "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load",
    "torch.hub.load", "torch.jit.load", "torch.package.PackageImporter", "pandas.read_pickle", "pd.read_pickle",
    "torch.utils.model_zoo.load_url",
}  # fmt: skip
# What the arguments of the others must be for them to be safe.
ARGUMENTS = {
    "torch.load": ("weights_only", True),
    "torch.hub.load_state_dict_from_url": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "np.lib.format.read_array": ("allow_pickle", False),
}
LOADERS = {"Loader", "CLoader", "FullLoader", "UnsafeLoader", "CFullLoader", "CUnsafeLoader"}


def unsafe(code: str) -> Iterator[str]:
    """The line and the words of everything in `code` that could run what is in a file."""
    for node in ast.walk(ast.parse(code)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if {f"{node.module}.{alias.name}" for alias in node.names} <= WRITERS:
                continue
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            # Under a name of its own a function would not be found among the calls.
            names = [name for name in names if name in MODULES | CALLS | ARGUMENTS.keys()]
            yield from (f"{node.lineno}: from {node.module} import" for _ in names)
            continue
        elif isinstance(node, ast.Attribute) and node.attr in LOADERS:
            yield f"{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in CALLS:
                yield f"{node.lineno}: {name}"
            if name in ARGUMENTS:
                key, wanted = ARGUMENTS[name]
                given = [ast.unparse(word.value) for word in node.keywords if word.arg == key]
                if given != [str(wanted)]:
                    yield f"{node.lineno}: {name} without {key}={wanted}"
        yield from (f"{node.lineno}: import {name}" for name in names if name in MODULES)


def test_no_file_can_bring_code(figure):
    files = sorted(PACKAGE.rglob("*.py"))
    found = {str(file.relative_to(PACKAGE)): list(unsafe(file.read_text())) for file in files}
    assert {name: places for name, places in found.items() if places} == {}
    assert {"engine/checkpoint.py", "data/cache.py", "utils/yamlfile.py"} <= set(found)
    figure("files searched for what could load code", str(len(files)))


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(path)", "torch.load(path, weights_only=False)", "torch.load(path, weights_only=safe)",
        "torch.load(path, **options)", "from torch import load", "np.load(path)", "np.load(path, allow_pickle=True)",
        "import pickle", "import os, pickle as p", "from pickle import loads", "import dill", "import joblib",
        "yaml.load(text, Loader=yaml.CSafeLoader)", "yaml.full_load(text)", "yaml.UnsafeLoader(text)",
        "from yaml import unsafe_load", "eval(text)", "exec(text)", "__import__(name)", "torch.jit.load(path)",
        "def f():\n    import shelve",
    ],
)  # fmt: skip
def test_the_search_finds(code):
    assert list(unsafe(code))


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(path, map_location='cpu', weights_only=True)", "np.load(path, mmap_mode='r', allow_pickle=False)",
        "yaml.safe_load(text)", "model.eval()", "torch.compile(model)", "re.compile(text)", "yaml.CSafeLoader(text)",
        "from safetensors.torch import load_file", "json.load(file)",
    ],
)  # fmt: skip
def test_the_search_passes(code):
    assert list(unsafe(code)) == []


READS_YAML = {"load", "load_all", "safe_load", "safe_load_all", "full_load", "parse", "compose", "scan", "CSafeLoader"}


def test_yaml_is_read_in_one_place():
    """``yaml.safe_load`` builds nothing that is code, and has no limits."""
    readers = {
        file.name
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if (isinstance(node, ast.Attribute) and ast.unparse(node.value) == "yaml" and node.attr in READS_YAML)
        or (isinstance(node, ast.ImportFrom) and node.module == "yaml")
    }  # fmt: skip
    assert readers == {"yamlfile.py"}


# CIFAR's own archives hold pickles: torchvision reads them, once their published MD5 is right.


def test_only_one_file_has_a_reader_that_unpickles():
    """torchvision's classes for CIFAR; with ``download=False``, they check every file before they read it."""
    users = {file.name for file in PACKAGE.rglob("*.py") if "torchvision.datasets" in file.read_text()}
    assert users == {"archive.py"}


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("packed", [False, True])
def test_archive_with_code_is_refused_and_the_code_does_not_run(tmp_path, name, packed):
    mark = tmp_path / "ran"
    folder = tmp_path / {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[name]
    folder.mkdir()
    files = {"cifar10": [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"],
             "cifar100": ["train", "test", "meta"]}[name]  # fmt: skip
    for file in files:
        (folder / file).write_bytes(pickle.dumps({"data": Harmful(mark), "labels": []}, protocol=2))
    path = folder
    if packed:
        path = tmp_path / f"{name}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(folder, folder.name)
    with pytest.raises(DataError, match="MD5"):
        read_archive(path, name)
    assert not mark.exists()
    pickle.loads((folder / files[0]).read_bytes())
    assert mark.exists(), "the files were harmless, so nothing was shown"
