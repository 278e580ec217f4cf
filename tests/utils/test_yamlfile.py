"""The one reader of YAML: whatever a text holds, it is plain data or one line, at little cost."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo.cluster.options import parse
from zoo.errors import MachineError, RecipeError, RegistryError, ZooError
from zoo.recipes.load import load_recipe
from zoo.registry.entries import read_registry_file
from zoo.registry.model import BUILT_IN
from zoo.utils import yamlfile

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
# What is wrong, and what the line says of it.
WRONG = {
    "nested aliases": (LAUGHS, "more than 100,000 keys and values, or 10,000 with aliases expanded; write fewer"),
    "many aliases": ("a: &a [1, 2, 3]\nb: [" + "*a, " * 2600 + "]", "10,000 with aliases expanded"),
    "many values": ("a: [" + "1," * 100_001 + "]", "more than 100,000 keys and values"),
    "a list that holds itself": ("a: &a [*a]", "an anchor that refers to itself"),
    "a mapping that holds itself": ("a: &a {b: {c: *a}}", "an anchor that refers to itself"),
    "deep lists": ("a: " + "[" * 300, "nested more than 50 deep"),
    "deeper lists": ("a: " + "[" * 100_000, "exceeded maximum nesting depth"),
    "deep mappings": ("{a: " * 100_000, "nested more than 50 deep"),
    "deep blocks": ("- " * 60, "nested more than 50 deep"),
    "deep aliases": ("a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 60)), "50 deep"),
    "no int": ('a: !!int ""', "'' is not a valid int"),
    "no bool": ("a: !!bool x", "'x' is not a valid bool"),
    "no float": ("a: !!float x", "'x' is not a valid float"),
    "a float that overflows": ("a: !!float 1" + ":1" * 400, "is not a valid float"),
    "no timestamp": ("a: !!timestamp x", "'x' is not a valid timestamp"),
    "no date": ("a: 2024-99-99", "'2024-99-99' is not a valid timestamp; correct it, or put it in quotes"),
    "a date": ("a: 2024-01-01", "'2024-01-01' is read as timestamp; put it in quotes"),
    "no binary": ("a: !!binary x", "not valid YAML"),
    "binary": ("a: !!binary aGVsbG8=", "'aGVsbG8=' is read as binary"),
    "a set": ("a: !!set {b}", "the tag tag:yaml.org,2002:set is not allowed"),
    "pairs": ("a: !!pairs [b: c]", "the tag tag:yaml.org,2002:pairs is not allowed"),
    "an object": ("a: !!python/object/apply:os.getcwd []", "the tag tag:yaml.org,2002:python/object/"),
    "a tag": ("a: !mine b", "not valid YAML: could not determine a constructor"),
    "a list as a key": ("? [a]\n: b", "a key must be plain text"),
    "a merge key": ("<<: {a: b}", "a key must be plain text"),
    "a number of many digits": ("a: " + "9" * 5000, "is not a valid int"),
    "a number of many hexadecimal digits": ("a: 0x" + "f" * 5000, "has more than 18 digits"),
    "a control character": ("a: b\x1b[31m", "the control character U+001B is not allowed; remove it"),
    "an escaped control character": ('a: "\\e[31m"', "the control character U+001B is not allowed; remove it"),
    "a key of two lines": ('"a\\nb": c', "the key 'a\\nb' holds a control character"),
    "two documents": ("a: b\n---\nc: d", "not valid YAML: but found another document"),
    "another version": ("%YAML 3.0\n---\na: b", "not valid YAML: found incompatible YAML document"),
    "an unknown alias": ("a: *b", "not valid YAML: found undefined alias"),
    "an open list": ("a: [b", "not valid YAML"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    """A reader that expands what it should not fails its test, and not the machine."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


@pytest.mark.parametrize("name", WRONG)
def test_one_safe_reader_of_yaml(tmp_path: Path, name: str) -> None:
    text, told = WRONG[name]
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    started = time.process_time()
    with pytest.raises(RecipeError) as of_file:
        yamlfile.read(path, RecipeError)
    with pytest.raises(MachineError) as of_option:
        yamlfile.read_text(text, MachineError, "here")
    assert time.process_time() - started < 2
    line, option = str(of_file.value), str(of_option.value)
    assert line.startswith(f"{path}:")
    assert line.removeprefix(f"{path}:").partition(":")[0].isdigit()
    assert option.startswith("here: ")
    for message in (line, option):
        assert told in message
        assert "\n" not in message
        assert len(message) < 500


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: b\nc: \xff\n", ":2: cannot be read: not UTF-8 text; save it as UTF-8"),
        (b"a: b\nc: \x00\n", ":2: the control character U+0000 is not allowed; remove it"),
        (b"# " + b"x" * 1_000_000, ": larger than 1,000,000 bytes; name the right file, or split it"),
        (b"[]", ":1: expected a mapping of sections, found a list"),
    ],
)
def test_a_file_that_is_no_yaml_is_one_line_with_its_name(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "registry.yaml"
    path.write_bytes(content)
    with pytest.raises(RegistryError) as caught:
        read_registry_file(path, "working folder")
    assert str(caught.value) == f"{path}{told}"


@pytest.mark.parametrize("text", ['!!int ""', "2024-99-99", "!!bool x", "[" * 100, "&a [*a]", "a\x07b", "9" * 5000])
def test_values_of_options_are_read_by_the_same_reader(text: str) -> None:
    with pytest.raises(RecipeError) as of_set:
        load_recipe("smoke", [f"description={text}"])
    assert str(of_set.value).startswith(f"set description={text}: ")


@pytest.mark.parametrize("text", ["[!!int '']", "{a: 2024-99-99}", "[" * 100, "'\x07'"])
def test_values_for_slurm_are_read_by_the_same_reader(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)  # the package need not be there
    with pytest.raises(MachineError) as caught:
        parse("slurm", None, [f"comment={text}"])
    assert str(caught.value).startswith(f"slurm comment={text}: ")


@pytest.mark.parametrize(
    ("text", "value"),
    [('"[a]"', "[a]"), ("2024-99-99", "2024-99-99"), ("-", "-"), ("*x", "*x"), ("[1, b]", [1, "b"]), ("on", True)],
)
def test_only_what_is_no_text_is_read_as_yaml_for_slurm(
    monkeypatch: pytest.MonkeyPatch, text: str, value: object
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert parse("slurm", None, [f"comment={text}"]).slurm == {"comment": value}


def test_a_mapping_of_python_has_the_same_limits() -> None:
    itself: dict[str, object] = {}
    itself["norms"] = itself
    laughs: list[object] = ["x"]
    for _ in range(20):
        laughs = [laughs] * 10
    for mapping, told in ((itself, "50 deep"), ({"norms": laughs}, "10,000"), ({None: 1}, "must be text, found None")):
        with pytest.raises(RegistryError, match=f"^plug:IT: .*{told}"):
            yamlfile.located(mapping, RegistryError, "plug:IT")


PIECES = (
    "!!int ", "!!float ", "!!bool ", "!!null ", "!!binary ", "!!timestamp ", "!!set ", "!!omap ", "!!pairs ", "!!str ",
    "!x ", "&a ", "*a", "*b", "? ", ": ", "- ", "[", "]", "{", "}", ",", "\n", "  ", "'", '"', "|\n", ">\n", "<<", "=",
    "~", "2024-99-99", "1e5", "1_0", "0x", "1:60", ".inf", ".nan", "\\x00", "\\u", "%TAG ! x\n", "---\n", "...\n", "#",
    "\t", "\x85", "\u2028", "\ufeff", "\x00", "\ud800", "extends: ", "norms:\n", "a", "9" * 30,
)  # fmt: skip


def mutated(text: str, random_of: random.Random) -> str:
    """`text` with one to eight places cut out, doubled, or with pieces of YAML's grammar put in."""
    for _ in range(random_of.randint(1, 8)):
        start, length = random_of.randrange(len(text) + 1), random_of.randint(0, 12)
        middle = random_of.choice(
            ("", random_of.choice(PIECES), random_of.choice(PIECES), text[start : start + 200] * 2)
        )
        text = text[:start] + middle + text[start + length :]
    return text


@pytest.mark.parametrize("tries", [600, pytest.param(5000, marks=pytest.mark.slow)])
def test_fuzz_of_yaml(tmp_path: Path, figure, tries: int) -> None:
    """Recipes and registries that are damaged, and texts of YAML's grammar, through what reads them."""
    random_of = random.Random(25)
    folder = Path(yamlfile.__file__).parents[1] / "recipes"
    whole = [path.read_text(encoding="utf-8") for path in (*sorted(folder.glob("*.yaml")), BUILT_IN)]
    path, held, read, messages = tmp_path / "mine.yaml", 0, 0, set()
    for number in range(tries):
        text = mutated(random_of.choice(whole), random_of)
        if number % 3 == 0:
            text = "".join(random_of.choices(PIECES, k=random_of.randint(1, 30)))
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        started = time.process_time()
        for read_it in (
            lambda: read_registry_file(path, "working folder"),
            lambda: load_recipe(str(path)),
            lambda text=text: load_recipe("smoke", [f"description={text}"]),
        ):
            try:
                read_it()
                read += 1
            except ZooError as problem:
                messages.add(str(problem)[:40])
        assert time.process_time() - started < 20
        held += 1
    assert 0 < read < held
    assert len(messages) > 20
    figure("damaged YAML texts tried", tries)
    figure("damaged YAML texts held", held)
