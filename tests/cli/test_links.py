"""Row 5 of the borders: nothing is written, removed or published through a link in a folder that zoo writes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from web_runs import make_run

from zoo.errors import MachineError, ResultError
from zoo.recipes.load import load_recipe
from zoo.results.folder import make_output
from zoo.utils.files import remove_leftovers, write_atomic, write_named
from zoo.utils.lock import dead_holder, lock

SECRET = b"-----BEGIN PRIVATE KEY-----"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the user elsewhere, which has to stay as it is."""
    path = tmp_path / "home" / "id_ed25519"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


def test_a_lock_that_is_a_link_leaves_what_it_points_to(tmp_path: Path, secret: Path) -> None:
    for target in (secret, secret.with_name("new")):
        (tmp_path / ".seed0.lock").symlink_to(target)
        with pytest.raises(MachineError, match=r"\.seed0\.lock: is a link.*remove it"), lock(tmp_path / "seed0"):
            pass
        (tmp_path / ".seed0.lock").unlink()
    os.mkfifo(tmp_path / ".seed0.lock")
    with pytest.raises(MachineError, match="no regular file"), lock(tmp_path / "seed0"):
        pass
    assert dead_holder(tmp_path / "seed0") is None  # `zoo serve` does not wait for it
    assert list(secret.parent.iterdir()) == [secret]
    assert secret.read_bytes() == SECRET


def test_runs_on_another_disk_and_what_the_user_names_may_be_links(inline_cli, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "runs").symlink_to("scratch")
    make_run(tmp_path / "scratch", "bn")
    (tmp_path / "site").mkdir()
    (tmp_path / "report").symlink_to("site")
    for _ in range(2):
        inline_cli.ok("report")
    assert (tmp_path / "report").is_symlink()
    assert (tmp_path / "site" / "index.html").is_file()
    (tmp_path / "bars.pdf").symlink_to("paper.pdf")
    inline_cli.ok("plot", "bars")
    assert (tmp_path / "bars.pdf").is_symlink()
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")
    assert not list(tmp_path.glob(".*"))


def test_the_standard_streams_are_written_into(zoo_cli, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from zoo.utils.files import write_named as w; print('a')\n"
    for place in ("/dev/stdout", "/dev/fd/1"):
        script = f"{code}w(Path({place!r}), b'b'); print('c')"
        for redirect in ("| cat > log", ">> log"):
            (tmp_path / "log").write_text("")
            shell = f'{zoo_cli.command[0]} -c "{script}" {redirect}'
            subprocess.run(shell, shell=True, cwd=tmp_path, env=zoo_cli.environment, check=True)
            assert (tmp_path / "log").read_text().replace("\n", "") == "abc", (place, redirect)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_named(tmp_path / "pipe", b"through")
    assert os.read(reader, 10) == b"through"
    os.close(reader)


def test_a_report_publishes_nothing_that_a_link_leads_to(inline_cli, tmp_path: Path, secret: Path) -> None:
    run = make_run(tmp_path / "runs", "bn")
    pictures = run.path / "explain"
    pictures.mkdir()
    (pictures / "curves.png").write_bytes(b"\x89PNG mine")
    (pictures / "key.png").symlink_to(secret)
    os.link(secret, pictures / "hard.png")
    (pictures / "none.png").symlink_to("nowhere")
    os.mkfifo(pictures / "pipe.png")
    (pictures / "folder.png").mkdir()
    other = make_run(tmp_path / "runs", "ln")
    (secret.parent / "album").mkdir()
    (secret.parent / "album" / "photo.png").write_bytes(b"\x89PNG private")
    (other.path / "explain").symlink_to(secret.parent / "album")
    inline_cli.ok("report")
    (picture,) = (tmp_path / "report" / "pictures").rglob("*.png")
    assert picture.read_bytes() == b"\x89PNG mine"
    assert not [path for path in (tmp_path / "report").rglob("*") if path.is_file() and SECRET in path.read_bytes()]


@pytest.mark.parametrize("own", ["explain", "export/onnx"])
def test_pictures_and_exports_do_not_follow_a_folder_that_is_a_link(tmp_path: Path, own: str) -> None:
    run, elsewhere = tmp_path / "seed0", tmp_path / "elsewhere"
    run.mkdir()
    elsewhere.mkdir()
    (run / own.split("/")[0]).symlink_to(elsewhere)
    with pytest.raises(ResultError, match="is a link or in one; name the folder that is meant with out"):
        make_output(None, run / own)
    assert make_output(run / own, run / own).is_dir()  # named by the user, it is what he means


def test_a_study_that_is_a_link_is_refused(inline_cli, tmp_path: Path) -> None:
    import optuna

    from zoo.tuning.space import make_space
    from zoo.tuning.study import opened

    del optuna
    folder, victim = tmp_path / "study", tmp_path / "bookmarks.sqlite"
    folder.mkdir()
    with sqlite3.connect(victim) as database:
        database.execute("create table mine (x)")
    before = victim.read_bytes()
    (folder / "study.db").symlink_to(victim)
    recipe = load_recipe("laptop")
    space = make_space(recipe, ["optimizer.lr"], {})
    with pytest.raises(MachineError, match=r"study\.db: is a link"), opened(folder, space, SimpleNamespace()):
        pass
    assert victim.read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["study.db"]


def test_sweeping_follows_no_link_and_takes_nothing_of_others(tmp_path: Path, secret: Path) -> None:
    write_atomic(tmp_path / "a.txt", b"")
    for name in (".a.txt.7.0123abcd.tmp", ".a.txt.7.01234567.tmp", ".a.txt.12345678.01234567.tmp"):
        (tmp_path / name).write_text("dead")
    kept = (".a.txt.tmp", ".a.txt.7.tmp", "a.txt.7.0123abcd.tmp", ".a.txt.7.0123abcd.tmp~", ".a.txt.x.0123abcd.tmp")
    for name in kept:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".b.txt.7.0123abcd.tmp").symlink_to(secret.parent)
    (tmp_path / ".c.txt.7.0123abcd.tmp").write_text("dead")
    remove_leftovers(tmp_path, "a.txt")
    assert {path.name for path in tmp_path.iterdir()} - {"home", "a.txt"} == {
        *kept, ".b.txt.7.0123abcd.tmp", ".c.txt.7.0123abcd.tmp",
    }  # fmt: skip
    remove_leftovers(tmp_path)
    assert not (tmp_path / ".c.txt.7.0123abcd.tmp").exists()
    assert list(secret.parent.iterdir()) == [secret]
