"""A ``registry.yaml`` of a parent folder is code: it is taken only where nobody else could have written it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.errors import RegistryError
from zoo.registry import plugins
from zoo.registry.merge import load_registry

STRANGER = 12345
pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no user ids")
as_root = pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a registry and a folder ``work`` below it, where one works."""
    monkeypatch.setattr(plugins, "_said", set())
    tmp_path.chmod(0o755)
    write(tmp_path / "registry.yaml")
    (tmp_path / "work").mkdir()
    return tmp_path


def write(file: Path) -> None:
    file.write_text("norms: {mine: 'torch.nn:BatchNorm2d'}")
    file.chmod(0o644)


def is_taken(site: Path) -> bool:
    return "mine" in load_registry(folder=site / "work").norms


def test_a_registry_of_ones_own_in_a_parent_is_taken_and_a_line_says_so(site, caplog) -> None:
    assert is_taken(site)
    assert is_taken(site)
    assert caplog.messages == [f"the registry of a parent folder is used: {site / 'registry.yaml'}"]


def test_the_working_folders_registry_needs_no_line(site, caplog) -> None:
    assert "mine" in load_registry(folder=site).norms
    assert not caplog.messages


@pytest.mark.parametrize("mode", [0o664, 0o775])
def test_the_users_own_group_may_write(site, mode: int) -> None:
    """As umask 002 has it, where each user has a group of his own."""
    (site / "registry.yaml").chmod(mode & 0o666)
    site.chmod(0o775)
    assert is_taken(site)


def by_everyone(file: Path) -> None:
    file.chmod(0o666)


def folder_by_everyone(file: Path) -> None:
    file.parent.chmod(0o777)


def of_another(file: Path) -> None:
    os.chown(file, STRANGER, -1)


def by_another_group(file: Path) -> None:
    os.chown(file, -1, STRANGER)
    file.chmod(0o664)


def folder_of_another(file: Path) -> None:
    os.chown(file.parent, STRANGER, -1)


def link_of_another(file: Path) -> None:
    elsewhere = file.with_name("elsewhere.yaml")
    write(elsewhere)
    file.unlink()
    file.symlink_to(elsewhere)
    os.lchown(file, STRANGER, -1)


def link_into_a_folder_of_another(file: Path) -> None:
    elsewhere = file.parent / "theirs" / "registry.yaml"
    elsewhere.parent.mkdir()
    write(elsewhere)
    file.unlink()
    file.symlink_to(elsewhere)
    os.chown(elsewhere.parent, STRANGER, -1)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (by_everyone, "registry.yaml is writable by everyone; "),
        (folder_by_everyone, " is writable by everyone; "),
        pytest.param(of_another, f"registry.yaml belongs to user {STRANGER}; ", marks=as_root),
        pytest.param(by_another_group, f"registry.yaml is writable by group {STRANGER}; ", marks=as_root),
        pytest.param(folder_of_another, f" belongs to user {STRANGER}; ", marks=as_root),
        pytest.param(link_of_another, f"registry.yaml belongs to user {STRANGER}; ", marks=as_root),
        pytest.param(link_into_a_folder_of_another, f"theirs belongs to user {STRANGER}; ", marks=as_root),
    ],
)
def test_a_registry_that_others_could_have_written_is_taken_only_by_name(
    site: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None], words: str
) -> None:
    file = site / "registry.yaml"
    spoil(file)
    with pytest.raises(RegistryError) as caught:
        is_taken(site)
    assert str(caught.value).startswith(f"{file} of a parent folder can run code and is not taken: ")
    assert words in str(caught.value)
    assert f"to take it give registry {file}; " in str(caught.value)

    assert "mine" in load_registry(file, site / "work").norms
    monkeypatch.setenv("ZOO_REGISTRY", str(file))
    assert is_taken(site)
    monkeypatch.delenv("ZOO_REGISTRY")
    (site / "work" / "registry.yaml").touch()  # the other way that the line names
    assert not is_taken(site)


def test_nobody_replaces_a_file_in_a_sticky_folder(site) -> None:
    site.chmod(0o1777)
    assert is_taken(site)
