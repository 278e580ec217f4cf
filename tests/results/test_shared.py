"""Parts that many results have alike are read once; what a file says, and what is wrong with it, stays the same."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from damaged import DAMAGES, damaged, sample
from made_results import result

import zoo.results.folder as module
from zoo.errors import ResultError
from zoo.results.folder import load_all, load_result, save_result
from zoo.results.shared import KEYS, cut


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that zoo wrote."""
    save_result(tmp_path / "result.json", result())
    return tmp_path / "result.json"


def outcome(path: Path) -> object:
    """The result in that file, or what is wrong with it."""
    try:
        return load_result(path)
    except ResultError as problem:
        return str(problem)


def as_without(path: Path, text: str) -> bool:
    """Whether a file with that `text` reads as it does where nothing is read once; `text` is at `path` afterwards."""
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    short = outcome(path)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "cut", lambda text: None)
        return short == outcome(path)


def test_parts_that_are_alike_are_one_object_whatever_the_rest_says(tmp_path):
    paths = [tmp_path / f"{seed}.json" for seed in range(3)]
    for seed, path in enumerate(paths):
        save_result(path, result(seed=seed, correct=8_000 + seed))
    runs = [stored.result for stored in load_all(paths)]
    assert [run.test.correct for run in runs] == [8_000, 8_001, 8_002]
    for part in KEYS:
        assert len({id(getattr(run, part)) for run in runs}) == 1, part


def test_a_file_that_zoo_wrote_is_cut_at_each_of_the_parts(path):
    short, parts = cut(path.read_bytes())
    whole = json.loads(path.read_text())
    assert len(short) < len(path.read_bytes()) / 2
    content = json.loads(short)
    assert {key: json.loads(parts[content[key]]) for key in KEYS} == {key: whole[key] for key in KEYS}
    assert {key: content[key] for key in content if key not in KEYS} == {
        key: whole[key] for key in whole if key not in KEYS
    }


def test_every_damage_reads_as_it_does_where_nothing_is_read_once(path, tmp_path):
    content = json.loads(path.read_text())
    tries = sample(content, 0.25)
    assert {kind for _, kind in tries} == set(DAMAGES)
    for place, kind in tries:
        assert as_without(path, damaged(content, place, kind, tmp_path)), (place, kind)


def other_layouts(text: str) -> dict[str, str]:
    """Texts that are laid out, or cheat, in other ways."""
    content = json.loads(text)
    git, model = json.dumps(content["git"]), json.dumps(content["model"])
    cheating = {
        "a part twice": text.replace('\n "git": ', f'\n "git": {git},\n "git": '),
        "a part twice on a line": text.replace('\n "git": ', f'\n "git": {git}, "git": '),
        "a part under an escaped name": text.replace('\n "git": ', '\n "g\\u0069t": '),
        "a number under an escaped name": text.replace('\n "git": ', '\n "g\\u0069t": 0,\n "git": '),
        "a number in place of a part": text.replace('\n "seed"', '\n "git": 1, "seed"').replace(f'\n "git": {git}', ""),
        "a part that is another": text.replace('"git"', '"models"').replace('"model"', '"git"'),
        "a name of a part inside another": text.replace('"test": {', '"test": {"extra": {"a": 1,\n "git": 5},'),
        "a name inside another, and the part on a line with others": text.replace(
            '"test": {', f'"test": {{"extra": {{"a": 1,\n "git": {git}}},'
        )
        .replace('\n "seed"', '\n "git": "x0", "seed"')
        .replace(f',\n "git": {git},\n', ",\n"),
        "a part in the middle of a line": text.replace(',\n "model"', ', "model"'),
        "a line break in a text": text.replace('"started": "', '"started": "x,\n "git": 5,'),
        "half a part": text.replace('\n "git": ', '\n "git": {"commit":,\n "gi": '),
        "an end too early": text.replace('\n "git": ', '\n "git": null}\n,\n "git": '),
        "words behind": text + "x",
        "a form feed behind": text + "\f",
        "a mark in front": "\ufeff" + text,
        "null for the whole": "null",
        "a model that is no text": text.replace(model, "[[[["),
    }
    plain = {
        "one line": json.dumps(content),
        "four blanks": json.dumps(content, indent=4),
        "blanks behind": text + " \n\t\r\n",
        "another order": json.dumps({key: content[key] for key in sorted(content, reverse=True)}, indent=1),
        "line ends of Windows": text.replace("\n", "\r\n"),
    }
    return cheating | plain


@pytest.mark.parametrize("name", list(other_layouts(json.dumps({"git": 1, "model": 1}))))
def test_other_layouts_read_as_they_do_where_nothing_is_read_once(path, name):
    text = path.read_text()
    assert as_without(path, other_layouts(text)[name])
    assert as_without(path, text)  # what is kept was not changed by it


TOKENS = [
    *(f'\n "{part}": ' for part in KEYS), ",", "{", "}", "[", "]", '"', "\n", " ", "0", "null", "\\", "\n}", "é",
    "\\u0000",
]  # fmt: skip


def test_any_edit_of_the_text_reads_as_it_does_where_nothing_is_read_once(path):
    draw, text = random.Random(0), path.read_text()
    for _ in range(400):
        edited = text
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(edited))
            edited = edited[:place] + draw.choice(TOKENS) + edited[place + draw.randrange(12) :]
        assert as_without(path, edited), edited
