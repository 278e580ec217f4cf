"""The types of what ``result.json`` holds, down to its leaves: all that reads a result can rely on them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    with_config,
)
from typing_extensions import TypedDict  # pydantic takes that of `typing` from Python 3.12 on

from zoo.utils.stats import Range

_PRINTED = r"[^\p{Cc}\p{Zl}\p{Zp}\u202A-\u202E\u2066-\u2069]"  # nothing that moves a cursor or turns text around
LONGEST = 4096  # characters
DEEPEST = 24  # lists and mappings in each other


def _span(span: Range) -> Range:
    if span[0] > span[1]:
        raise ValueError(f"{span[0]} to {span[1]} is no range")
    return span


def _shallow(value: JsonValue) -> JsonValue:
    parts, depth = [value], 0
    while parts := [part for whole in parts for part in _inside(whole)]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} lists and mappings in each other")
    return value


def _inside(value: JsonValue) -> list[JsonValue]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


Text = Annotated[str, Field(strict=True, max_length=LONGEST, pattern=f"^{_PRINTED}*$")]
Label = Annotated[str, Field(strict=True, max_length=LONGEST, pattern=r"^[\t\n\r\P{Cc}]*$")]
# One component of a path: the name of a dataset's folder, and of a recipe's file without its ending.
Component = Annotated[str, Field(strict=True, max_length=255, pattern=r"^(\.?[^/.\p{Cc}][^/\p{Cc}]*|\.\.[^/\p{Cc}]+)$")]
FileName = Annotated[str, Field(strict=True, max_length=255, pattern=r"^[^/\\.\p{Cc}][^/\\\p{Cc}]*$")]
Sha256 = Annotated[str, Field(strict=True, pattern="^[0-9a-f]{64}$")]
Flag = StrictBool
Whole = Annotated[int, Field(strict=True, ge=0, lt=2**53)]  # a float still tells them apart
Count = Annotated[int, Field(strict=True, ge=1, lt=2**53)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Scale = Annotated[float, Field(strict=True, gt=0, le=1)]
Loss = Annotated[float, Field(strict=True, ge=0, le=1e50)]
Speed = Annotated[float, Field(strict=True, ge=1e-15, le=1e15)]
Seconds = Annotated[float, Field(strict=True, ge=0, le=1e15)]
Number = Annotated[float, Field(strict=True, ge=-1e50, le=1e50)]
Side = Annotated[int, Field(strict=True, ge=1, le=2**14)]  # of an image, in pixels
Span = Annotated[tuple[Speed, Speed], AfterValidator(_span)]
Plain = Annotated[JsonValue, AfterValidator(_shallow)]
Scalar = Text | Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)] | Number | Flag | None


@with_config(ConfigDict(extra="forbid"))
class Git(TypedDict):
    """The commit of zoo's code, and whether that had changes that are in no commit."""

    commit: Text
    dirty: Flag


@with_config(ConfigDict(extra="forbid"))
class Entry(TypedDict, total=False):
    """What of an entry of the registry is part of a definition."""

    name: Text
    builder: Text | None
    kwargs: dict[Text, Plain]
    arguments: dict[Text, Text]
    conv: Text | None
    activation: Literal["included", "separate"]
    source_sha256: Sha256


@with_config(ConfigDict(extra="forbid"))
class Weights(TypedDict):
    """The file of weights that a model started from."""

    sha256: Sha256


@with_config(ConfigDict(extra="forbid"))
class Definition(TypedDict, total=False):
    """:func:`zoo.registry.fingerprint.definition`."""

    architecture: Entry
    norm: Entry
    model: Entry
    pretrained: Weights
    code: dict[Text, Text]
    packages: dict[Text, Text]
    data: dict[Text, Text]


@with_config(ConfigDict(extra="forbid"))
class Experiment(TypedDict, total=False):
    """What a run is, besides its seed and the name of its folder."""

    recipe: Text
    dataset: Text
    definition: Definition
