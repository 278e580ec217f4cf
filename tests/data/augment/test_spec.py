"""The transform list: what is accepted, and the exact line that a mistake gets."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import numpy as np
import pytest

from zoo.data.augment import custom, spec
from zoo.data.augment.spec import TransformSpec, build, parse
from zoo.errors import RecipeError, UnknownNameError

WHERE = "recipe x, train"


def test_parse_keeps_order_and_arguments():
    specs = parse([{"HorizontalFlip": {"p": 0.5}}, {"VerticalFlip": None}, "Transpose"], WHERE)
    assert specs == (
        TransformSpec("HorizontalFlip", {"p": 0.5}),
        TransformSpec("VerticalFlip"),
        TransformSpec("Transpose"),
    )
    assert parse(specs, WHERE) == specs


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"RandomCop": {}},
            "unknown transform 'RandomCop' (looked in recipe x, train, transform 1); did you mean 'RandomCrop'",
        ),
        (
            {"Qqqq": {}},
            "unknown transform 'Qqqq' (looked in recipe x, train, transform 1); "
            "the names are the classes of albumentations, and Cutout and AlternatingFlip",
        ),
        (
            {"RandomCrop": {"heigth": 32, "width": 32}},
            "unknown argument of RandomCrop 'heigth' (looked in recipe x, train, transform 1); did you mean 'height'",
        ),
        (
            {"HorizontalFlip": {"zz": 1}},
            "unknown argument of HorizontalFlip 'zz' (looked in recipe x, train, transform 1); HorizontalFlip takes p",
        ),
        (
            {"Rotate": {"border_mode": "reflect101"}},
            "unknown border_mode 'reflect101' (looked in recipe x, train, transform 1: Rotate); "
            "did you mean 'reflect_101' or 'reflect'",
        ),
    ],
)
def test_unknown_names_get_the_nearest_right_one(entry, message):
    with pytest.raises(UnknownNameError) as caught:
        parse([entry], WHERE)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"RandomCrop": {"height": 32}}], "recipe x, train, transform 1: RandomCrop needs 'width'"),
        (
            [{"HorizontalFlip": {"p": 2}}],
            "recipe x, train, transform 1: HorizontalFlip: p: Input should be less than or equal to 1",
        ),
        (
            [{"Cutout": {"num_holes": 0}}],
            "recipe x, train, transform 1: Cutout: num_holes: Input should be greater than or equal to 1",
        ),
        (
            [{"Cutout": {"max_h_size": "big"}}],
            "recipe x, train, transform 1: Cutout: max_h_size: "
            "Input should be a valid integer, unable to parse string as an integer",
        ),
        (
            [{"Rotate": {}, "Transpose": {}}],
            "recipe x, train, transform 1: expected one mapping such as 'HorizontalFlip: {p: 0.5}', "
            "got {'Rotate': {}, 'Transpose': {}}",
        ),
        ([{"Rotate": 5}], "recipe x, train, transform 1: the arguments of Rotate must be a mapping, got 5"),
        ([{5: {}}], "recipe x, train, transform 1: expected the name of a transform, got 5"),
        ({"Rotate": {}}, "recipe x, train: expected a list of transforms, got dict"),
        ("Rotate", "recipe x, train: expected a list of transforms, got str"),
    ],
)
def test_mistakes_are_one_line(entries, message):
    with pytest.raises(RecipeError) as caught:
        parse(entries, WHERE)
    assert str(caught.value) == message


def test_arguments_that_albumentations_only_warns_about_are_errors():
    with pytest.raises(UnknownNameError, match="argument of CoarseDropout 'max_holes'"):
        parse([{"CoarseDropout": {"max_holes": 1}}], WHERE)


@pytest.mark.parametrize(("name", "number"), spec.BORDER_MODES.items())
def test_border_modes_by_name_and_number(name, number):
    for value in (name, number):
        (spec,) = parse([{"PadIfNeeded": {"min_height": 40, "min_width": 40, "border_mode": value}}], WHERE)
        assert build(spec).border_mode == number


def test_cutout_cuts_the_fill_to_whole_levels_and_leaves_its_input_alone():
    cutout = custom.Cutout(num_holes=1, max_h_size=4, max_w_size=2, fill_value=(0.491, 7.9, 255), p=1.0)
    image = np.full((8, 8, 3), 100, dtype=np.uint8)
    out = cutout.apply(image, holes=np.array([[1, 2, 3, 6]]))
    assert (image == 100).all()
    assert (out[2:6, 1:3] == [0, 7, 255]).all()
    out[2:6, 1:3] = 100
    assert (out == 100).all()


def test_cutout_on_a_float_image_uses_the_fill_as_it_is():
    cutout = custom.Cutout(num_holes=1, fill_value=0.491, p=1.0)
    out = cutout.apply(np.ones((8, 8, 3), dtype=np.float32), holes=np.array([[0, 0, 8, 8]]))
    assert np.allclose(out, 0.491)


def test_cutout_centres_are_uniform_and_holes_clipped():
    cutout = custom.Cutout(num_holes=1, max_h_size=16, max_w_size=16, p=1.0)
    cutout.set_random_state(np.random.default_rng(0), random.Random(0))
    draws = [cutout.get_params_dependent_on_data({"shape": (32, 32, 3)}, {})["holes"][0] for _ in range(20_000)]
    left, top, right, bottom = np.array(draws).T
    assert left.min() == top.min() == 0
    assert right.max() == bottom.max() == 32
    assert ((right - left) >= 8).all()
    assert ((right - left) <= 16).all()
    # The hole reaches the left border for centres 0..8, so in 9 of 32 draws; 5 standard deviations of a binomial.
    expected, sigma = 9 / 32, np.sqrt(9 / 32 * 23 / 32 / len(draws))
    assert abs((left == 0).mean() - expected) < 5 * sigma
    assert abs((top == 0).mean() - expected) < 5 * sigma


def test_importing_the_executors_imports_no_albumentations():
    run("import sys, zoo.data.loader; assert not {'albumentations', 'cv2'} & set(sys.modules)")


def test_nothing_calls_home():
    run(
        "import urllib.request; asked = []; urllib.request.OpenerDirector.open = lambda *a, **k: asked.append(a);"
        "from zoo.data.augment.spec import parse; parse([{'HorizontalFlip': {}}], 'x'); assert not asked, asked"
    )


def run(code):
    """In a fresh interpreter, without the variable that may already be set here."""
    environment = {key: value for key, value in os.environ.items() if key != "NO_ALBUMENTATIONS_UPDATE"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
