"""Weights from files: hub-folder:PATH and --pretrained."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from zoo.builder import notes
from zoo.builder.construct import build
from zoo.builder.weights import find, with_versions
from zoo.errors import RegistryError, UnknownNameError
from zoo.registry.fingerprint import definition
from zoo.registry.merge import load_registry
from zoo.registry.model import Pretrained, registry_name, starting_from
from zoo.results.folder import load_stored


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as timm writes it, of a model for a thousand classes."""
    from timm.models._hub import save_for_hf

    folder = tmp_path_factory.mktemp("checkpoint") / "mine"
    torch.manual_seed(1)
    model = timm.create_model("test_resnet", num_classes=1000)
    torch.nn.init.uniform_(model.bn1.weight)
    save_for_hf(model, str(folder), safe_serialization=True)
    assert (folder / "model.safetensors").is_file()
    return folder


def test_hub_folder_has_its_weights_but_for_the_head(checkpoint: Path) -> None:
    model = load_registry().resolve(f"hub-folder:{checkpoint}")
    module, weights = build(model, 10), load_file(checkpoint / "model.safetensors")
    state = module.state_dict()
    assert {name for name in state if state[name].shape != weights[name].shape} == {"fc.weight", "fc.bias"}
    assert all(torch.equal(state[name], weights[name]) for name in state if not name.startswith("fc."))
    assert "fc.weight, fc.bias ((1000," in notes.of(module)[-1]
    told = definition(model)["model"]["kwargs"]
    digest = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    config = json.loads((checkpoint / "config.json").read_text())  # older versions of timm write no global_pool
    arguments = {key: config[key] for key in ("global_pool",) if key in config}  # what the data decides is left out
    assert told == {"sha256": digest, "architecture": "test_resnet", "arguments": arguments, "stem_rule": 1}
    assert str(checkpoint.parent) not in json.dumps(definition(model))
    swapped = build(load_registry().resolve(f"hub-folder:{checkpoint}@gn"), 10)
    assert torch.equal(swapped.bn1.weight, weights["bn1.weight"])
    assert isinstance(swapped.bn1, torch.nn.GroupNorm)
    assert torch.equal(build(model, 1000).fc.weight, weights["fc.weight"])  # where it fits it is loaded


def test_spelling_of_a_path_makes_no_other_model(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkpoint.parent)
    found = load_registry().match(["hub-folder:mine", "hub-folder:./mine/", "hub-folder:mine@gn"])
    assert [model.name for model in found] == ["hub-folder:mine", "hub-folder:mine@gn"]


def test_folders_that_are_none_are_told(checkpoint: Path, tmp_path: Path) -> None:
    def resolve() -> None:
        build(load_registry().resolve(f"hub-folder:{tmp_path}"))

    with pytest.raises(RegistryError, match=r"has no config\.json"):
        resolve()
    config = tmp_path / "config.json"
    config.write_text('{"architecture": "test_resnet"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(RegistryError, match=r"pytorch_model\.bin is a pickle, which can carry code"):
        resolve()
    weights = load_file(checkpoint / "model.safetensors")
    save_file({name: tensor for name, tensor in weights.items() if name != "bn1.bias"}, tmp_path / "model.safetensors")
    with pytest.raises(RegistryError, match=r"has no 'bn1\.bias'"):
        resolve()
    save_file(weights | {"bn1.bias": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(RegistryError, match=r"'bn1\.bias' is \(3,\), but .* only the classifier head may differ"):
        resolve()
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(RegistryError, match=r"cannot be read as safetensors"):
        resolve()
    for text, told in (
        ('{"architecture": "resnt18"}', "did you mean 'resnet18'"),
        ('{"architecture": "resnet18", "model_args": {"pretrained": true}}', "'pretrained' cannot be set here"),
        ("[", "cannot be read as JSON"),
        ("{}", "expected 'architecture'"),
    ):
        config.write_text(text)
        with pytest.raises((RegistryError, UnknownNameError), match=told):
            resolve()


def test_a_file_that_changes_meanwhile_is_noticed(checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes((checkpoint / "model.safetensors").read_bytes())
    model = starting_from(load_registry().resolve("timm:test_resnet"), find(file))
    build(model)
    weights = load_file(file)
    save_file({name: tensor + 1 for name, tensor in weights.items()}, file)
    with pytest.raises(RegistryError, match="has changed since this command began"):
        build(model)


def test_only_safetensors(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"x")
    for given, told in (
        (tmp_path / "weights.pt", "can carry code"),
        (tmp_path, "has no model"),
        ("no", "no such file"),
    ):
        with pytest.raises(RegistryError, match=told):
            find(Path(given))


@pytest.mark.parametrize("name", ["resnet18_bn", "hub-folder:./ckpt~old", "hub-folder:~/a", "hub-folder:a~1a2b3c4d/b"])
def test_the_name_in_the_registry_is_without_the_digest_alone(name: str) -> None:
    model = replace(load_registry().resolve("resnet18_bn"), name=name)
    started = starting_from(model, Pretrained("0123456789abcdef" * 4))
    assert started.name == f"{name}~01234567"
    assert registry_name(started.name) == registry_name(name) == name


def test_fine_tuned_runs_stand_beside_those_from_scratch(module_inline: Any, tiny: tuple[str, ...]) -> None:
    zoo = module_inline
    scratch = "timm:test_vit@ln"
    zoo.ok("bench", scratch, *tiny)
    (source,) = zoo.folder.glob("runs/*/*/*/seed0")
    again = zoo.ok("bench", scratch, *tiny, "--pretrained", source)
    digest = hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    name = f"{scratch}~{digest[:8]}"
    assert f"{name}: weights {digest[:8]}: all of its values" in again.stderr
    assert name in again.stdout
    runs = {
        stored.result.model.name: stored.result
        for stored in map(load_stored, zoo.folder.glob("runs/*/*/*/seed0/result.json"))
    }
    assert set(runs) == {scratch, name}
    assert runs[name].model.definition["pretrained"] == {"sha256": digest}
    assert runs[name].test != runs[scratch].test
    assert [run.model.norm for run in runs.values()] == ["ln", "ln"]
    assert all("ln instead of" in run.model.notes[1] for run in runs.values())
    best = ("--set", "selection.rule=best", "--set", "split.holdout=40")
    other = zoo("bench", scratch, *tiny, *best, "--pretrained", source)
    assert other.returncode == 2
    assert "trained on images that recipe 'smoke' holds out to choose by; hold out what that run" in other.stderr
    file = source / "result.json"
    whole = file.read_text()
    stored = json.loads(whole)
    stored["selection"]["split"] = "test"
    file.write_text(json.dumps(stored))
    refused = zoo("bench", scratch, *tiny, "--pretrained", source / "model.safetensors")
    file.write_text(whole)
    assert refused.returncode == 2
    assert "model.safetensors: the test images of shapes10 chose these weights" in refused.stderr
    table = zoo.ok("compare", "--baseline", scratch).stdout
    assert all(one in table for one in runs)
    told = zoo.ok("evaluate", "runs", "--limit", "20").stdout
    assert all(one in told for one in runs)
    assert "differs" not in told


class Versioned(torch.nn.Linear):
    """Asks for the version of what it loads, as torchvision's MNASNet does; a file of weights has none."""

    _version = 2

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *rest: Any) -> None:
        if metadata.get("version") != 2:
            raise ValueError(f"version should be 2 instead of {metadata.get('version')}")
        super()._load_from_state_dict(state, prefix, metadata, *rest)


def test_layers_that_ask_for_a_version_load_from_a_file(tmp_path: Path) -> None:
    module, fresh = Versioned(2, 2), Versioned(2, 2)
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    weights = load_file(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="instead of None"):
        fresh.load_state_dict(weights)
    fresh.load_state_dict(with_versions(fresh, weights))
    assert torch.equal(fresh.weight, module.weight)
