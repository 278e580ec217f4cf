"""The batched executor against albumentations with equal parameters, its randomness, and what it refuses."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo.data.augment.batched import BatchedAugment, NoBatchedForm
from zoo.data.augment.reference import ReferenceAugment
from zoo.data.augment.spec import build, parse
from zoo.errors import RecipeError

MEAN, STD = (0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784)
FILL = [0.491, 0.482, 0.447]
NORMALIZE = {"Normalize": {"mean": list(MEAN), "std": list(STD)}}

CUTOUT = {"Cutout": {"num_holes": 1, "max_h_size": 16, "max_w_size": 16, "fill_value": FILL, "p": 1.0}}
PAD = {"PadIfNeeded": {"min_height": 40, "min_width": 40, "border_mode": "reflect_101"}}
CROP = {"RandomCrop": {"height": 32, "width": 32}}
FLIP = {"HorizontalFlip": {"p": 0.5}}
ROTATE = {"Rotate": {"limit": 5, "p": 1.0, "border_mode": "reflect_101"}}
STANDARD = [PAD, CROP, FLIP, CUTOUT, NORMALIZE]
EVA6S8 = [
    {"RandomCrop": {"height": 28, "width": 28}},
    {"PadIfNeeded": {"min_height": 32, "min_width": 32, "border_mode": "reflect_101"}},
    CUTOUT,
    ROTATE,
    NORMALIZE,
]


@pytest.fixture(scope="module")
def noise():
    """(64, 32, 32, 3) uint8: the hardest case for interpolation, neighbours differ by up to 255 levels."""
    return np.random.default_rng(7).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def photographs():
    """256 real training images; skipped where the set is absent."""
    folder = Path(os.environ.get("ZOO_DATA", "")) / "cifar10-jpeg"
    files = sorted(folder.glob("train*.parquet")) if os.environ.get("ZOO_DATA") else []
    if not files:
        pytest.skip("needs real images: set ZOO_DATA to the folder that holds cifar10-jpeg")
    parquet = pytest.importorskip("pyarrow.parquet")
    from PIL import Image

    table = next(parquet.ParquetFile(files[0]).iter_batches(batch_size=256))
    column = next(name for name in table.schema.names if name in ("img", "image"))
    cells = table.column(column).to_pylist()
    return np.stack([np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB")) for cell in cells])


def nchw(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def forced(specs, images: np.ndarray, params) -> np.ndarray:
    """albumentations' own transforms with the parameters of the batched table, one image at a time: (N, 3, H, W)."""
    built = [build(spec) for spec in specs]
    out = []
    for row, image in enumerate(images):
        for index, transform in enumerate(built):
            columns = {name.split(".")[1]: value[row] for name, value in params.items() if name.startswith(f"{index}.")}
            image = force(transform, image, columns)
        out.append(image.transpose(2, 0, 1))
    return np.stack(out)


def force(transform, image, columns):
    name = type(transform).__name__
    if name == "RandomCrop":
        x, y = int(columns["x"]), int(columns["y"])
        return transform.apply(image, crop_coords=(x, y, x + transform.width, y + transform.height), pad_params=None)
    if name in ("HorizontalFlip", "VerticalFlip"):
        return transform.apply(image) if columns["flip"] else image
    if name in ("Cutout", "CoarseDropout"):
        return transform.apply(image, holes=columns["holes"].numpy(), seed=0)
    if name == "Rotate":
        transform.limit, transform.p = (float(columns["angle"]),) * 2, 1.0
    if name == "PadIfNeeded" and "top" in columns:
        top, left = int(columns["top"]), int(columns["left"])
        bottom, right = transform.min_height - image.shape[0] - top, transform.min_width - image.shape[1] - left
        return transform.apply(image, pad_top=top, pad_bottom=bottom, pad_left=left, pad_right=right)
    return transform(image=image)["image"]


def both(entries, images):
    specs = parse(entries, "test")
    augment = BatchedAugment(specs, images.shape[1:3])
    params = augment.draw(3, 5, len(images))
    return augment.apply(nchw(images), params).numpy(), forced(specs, images, params)


def pad(mode, **more):
    return {"PadIfNeeded": {"min_height": 43, "min_width": 38, "border_mode": mode, **more}}


EXACT = {
    "nothing": [],
    "crop": [{"RandomCrop": {"height": 28, "width": 20}}],
    "center crop": [{"CenterCrop": {"height": 27, "width": 24}}],
    "flip": [FLIP],
    "vertical flip": [{"VerticalFlip": {"p": 0.5}}],
    "pad reflect_101": [pad("reflect_101")],
    "pad reflect": [pad("reflect")],
    "pad replicate": [pad("replicate")],
    "pad constant": [pad("constant", fill=[10, 20.6, 255])],
    "pad top_left": [pad("reflect_101", position="top_left")],
    "pad top_right": [pad("constant", position="top_right")],
    "pad bottom_left": [pad("replicate", position="bottom_left")],
    "pad bottom_right": [pad("reflect", position="bottom_right")],
    "pad random": [pad("constant", position="random", fill=9)],
    "pad divisor": [
        {"PadIfNeeded": {"min_height": None, "min_width": None, "pad_height_divisor": 9, "pad_width_divisor": 32}}
    ],
    "cutout": [CUTOUT],
    "cutout coloured, several": [
        {"Cutout": {"num_holes": 3, "max_h_size": 9, "max_w_size": 4, "fill_value": [200, 100.7, 3], "p": 0.5}}
    ],
    "coarse dropout": [
        {"CoarseDropout": {"num_holes_range": [1, 4], "hole_height_range": [3, 9], "fill": 77, "p": 0.7}}
    ],
    "coarse dropout, shares": [{"CoarseDropout": {"p": 1.0}}],
    "pad, crop, flip": [PAD, CROP, FLIP],
    "holes then moved": [CUTOUT, pad("constant", fill=50), CROP, FLIP, CUTOUT, {"VerticalFlip": {}}],
}


@pytest.mark.parametrize("name", EXACT)
def test_pixels_are_exactly_albumentations(name, noise):
    ours, theirs = both(EXACT[name], noise)
    assert ours.shape == theirs.shape
    assert np.array_equal(ours, theirs.astype(np.float32))


def test_normalised_pixels_equal_to_a_millionth(noise):
    for entries in ([NORMALIZE], STANDARD):
        ours, theirs = both(entries, noise)
        assert theirs.dtype == np.float32
        assert np.abs(ours - theirs).max() <= 1e-6


@pytest.mark.parametrize("border", ["reflect_101", "reflect", "replicate", "constant"])
@pytest.mark.parametrize("limit", [5, 45])
def test_rotation_on_noise_within_interpolation_error(border, limit, noise):
    """Both return whole levels. OpenCV 5 interpolates in float, as we do: only a near tie may round the other way.

    OpenCV 4 places source pixels in steps of 1/32, at most 1/64 off on each axis; on noise a neighbour may differ by
    255 levels, so two axes give up to 2 * 255 / 64 = 8 levels and one of rounding at single pixels.
    """
    import cv2

    fixed_point = int(cv2.__version__.split(".")[0]) < 5
    ours, theirs = both([{"Rotate": {"limit": limit, "p": 1.0, "border_mode": border, "fill": 30}}], noise)
    error = np.abs(ours - theirs)
    print(f"rotate {border} {limit}: max {error.max():.3f}, mean {error.mean():.3f} levels, OpenCV {cv2.__version__}")
    assert error.max() <= (9 if fixed_point else 1)
    assert error.mean() <= (1.5 if fixed_point else 0.002)


@pytest.mark.parametrize(
    "resize",
    [
        {"height": 28, "width": 24},
        {"height": 48, "width": 40},
        {"height": 16, "width": 16},
        {"height": 20, "width": 16, "interpolation": 3},
        {"height": 16, "width": 8, "interpolation": 3},
        {"height": 24, "width": 24, "area_for_downscale": "image"},
    ],
)
def test_resize_within_one_level(resize, noise):
    """By areas exact but for near ties. OpenCV's bilinear form is in fixed point and cuts bits between its two passes:
    on noise about one pixel in eight comes out one level off, none two."""
    ours, theirs = both([{"Resize": resize}], noise)
    error = np.abs(ours - theirs)
    print(f"resize {resize}: max {error.max():.0f}, mean {error.mean():.4f}")
    assert ours.shape == theirs.shape
    assert error.max() <= 1
    assert error.mean() <= 0.2


def test_a_rotation_in_mid_list_is_rounded_as_albumentations_does(noise):
    ours, theirs = both([ROTATE, CUTOUT, FLIP, CROP], noise)
    assert np.array_equal(ours, np.round(ours))
    assert np.abs(ours - theirs).max() <= 9
    assert np.abs(ours - theirs).mean() <= 1.5


@pytest.mark.parametrize("entries", [STANDARD, EVA6S8], ids=["standard", "eva6s8"])
def test_whole_lists_on_real_images(entries, photographs):
    """In units of the normalised image one grey level is 1 / (255 * 0.25) = 0.016."""
    ours, theirs = both(entries, photographs)
    assert ours.shape == (256, 3, 32, 32)
    error = np.abs(ours - theirs)
    exact = entries is STANDARD
    assert error.max() <= (1e-6 if exact else 9 / (255 * 0.243))
    assert error.mean() <= (1e-6 if exact else 0.5 / (255 * 0.243))


# ---------------------------------------------------------------------------------------------------------- randomness


def parameters_of_reference(entries, count):
    """The parameters that albumentations' transforms draw under the reference executor's seeding."""
    augment = ReferenceAugment(parse(entries, "test"))
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    rows = []
    for position in range(count):
        augment(image, 11, 2, position)
        rows.append([transform.get_applied_params() for transform in augment.transforms])
    return rows


def close_to_uniform(values, size, *, low=0):
    """Each of `size` values equally often: every count within 5 standard deviations."""
    counts = np.bincount(np.asarray(values) - low, minlength=size)
    sigma = np.sqrt(len(values) / size * (1 - 1 / size))
    assert len(counts) == size
    assert np.abs(counts - len(values) / size).max() < 5 * sigma


def test_both_executors_draw_the_same_distributions():
    entries, count = [PAD, CROP, FLIP, CUTOUT, ROTATE], 4000
    table = BatchedAugment(parse(entries, "test")).draw(11, 2, count)
    reference = parameters_of_reference(entries, count)
    crops = np.array([row[1]["crop_coords"][:2] for row in reference])
    for x, y in ((table["1.x"].numpy(), table["1.y"].numpy()), crops.T):
        close_to_uniform(x, 9)
        close_to_uniform(y, 9)
        assert abs(np.corrcoef(x, y)[0, 1]) < 5 / np.sqrt(count)
    for flips in (table["2.flip"].numpy(), np.array([bool(row[2]) for row in reference])):
        assert abs(flips.mean() - 0.5) < 5 * 0.5 / np.sqrt(count)
    theirs = np.array([row[3]["holes"][0] for row in reference])
    for holes in (table["3.holes"][:, 0].numpy(), theirs):
        left, _, right, _ = holes.T
        centres = np.where(left > 0, left + 8, right - 8)  # a 16 wide hole around the centre, cut at 0 and at 32
        close_to_uniform(centres, 32)
        close_to_uniform(np.where(holes[:, 1] > 0, holes[:, 1] + 8, holes[:, 3] - 8), 32)
    angles = [np.rad2deg(np.arctan2(row[4]["matrix"][0, 1], row[4]["matrix"][0, 0])) for row in reference]
    for values in (table["4.angle"].numpy(), np.array(angles)):
        assert values.min() >= -5
        assert values.max() <= 5
        close_to_uniform(np.floor(values + 5).clip(0, 9).astype(int), 10)


def test_coarse_dropout_sizes_and_counts():
    entries = [
        {
            "CoarseDropout": {
                "num_holes_range": [1, 3],
                "hole_height_range": [4, 8],
                "hole_width_range": [2, 3],
                "p": 1.0,
            }
        }
    ]
    holes = BatchedAugment(parse(entries, "test")).draw(0, 0, 6000)["0.holes"].numpy()
    tall, wide = holes[..., 3] - holes[..., 1], holes[..., 2] - holes[..., 0]
    close_to_uniform((tall > 0).sum(1), 3, low=1)
    close_to_uniform(tall[:, 0], 5, low=4)
    close_to_uniform(wide[:, 0], 2, low=2)


def test_rows_depend_on_seed_epoch_and_position_alone():
    augment = BatchedAugment(parse(EVA6S8, "test"))
    short, long = augment.draw(1, 2, 100), augment.draw(1, 2, 1000)
    assert short.keys() == long.keys()
    assert all(torch.equal(short[name], long[name][:100]) for name in short)
    for other in (augment.draw(1, 3, 100), augment.draw(2, 2, 100)):
        assert all(not torch.equal(short[name], other[name]) for name in short)


def test_columns_and_repeated_transforms_are_independent():
    table = BatchedAugment(parse([FLIP, FLIP], "test")).draw(0, 0, 4000)
    first, second = (table[name].numpy().astype(float) for name in ("0.flip", "1.flip"))
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(4000)


def test_a_row_is_the_same_in_any_batch(noise):
    augment = BatchedAugment(parse(EVA6S8, "test"))
    params, images = augment.draw(0, 0, len(noise)), nchw(noise)
    whole = augment.apply(images, params)
    for rows in (slice(0, 1), slice(5, 12), slice(63, 64)):
        part = augment.apply(images[rows], {name: column[rows] for name, column in params.items()})
        assert torch.equal(part, whole[rows])


# ----------------------------------------------------------------------------------------------------- form and refusal


def test_apply_changes_neither_images_nor_parameters(noise):
    augment = BatchedAugment(parse(EVA6S8, "test"))
    images, params = nchw(noise), augment.draw(0, 0, len(noise))
    before = images.clone(), {name: column.clone() for name, column in params.items()}
    first = augment.apply(images, params)
    assert torch.equal(images, before[0])
    assert all(torch.equal(params[name], before[1][name]) for name in params)
    assert torch.equal(first, augment.apply(images, params))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([{"GaussianBlur": {}}], "GaussianBlur has no batched form"),
        ([NORMALIZE, FLIP], "Normalize has a batched form only as the last transform"),
        ([{"RandomCrop": {"height": 28, "width": 28, "p": 0.5}}], "RandomCrop has no batched form with p below 1"),
        ([{"RandomCrop": {"height": 40, "width": 40, "pad_if_needed": True}}], "no batched form with pad_if_needed"),
        ([{"Rotate": {"interpolation": 2}}], "Rotate has no batched form with interpolation 2"),
        ([{"Rotate": {"border_mode": 3}}], "Rotate has no batched form with border_mode 3"),
        (
            [{"Resize": {"height": 16, "width": 16, "interpolation": 2}}],
            "Resize has no batched form with interpolation 2",
        ),
        (
            [{"Resize": {"height": 64, "width": 16, "interpolation": 3}}],
            "Resize has no batched form with interpolation 3",
        ),
        ([{"Rotate": {"crop_border": True}}], "Rotate has no batched form with crop_border"),
        (
            [{"PadIfNeeded": {"min_height": 99, "min_width": 99, "border_mode": 4}}],
            "a reflected border wider than the image",
        ),
        ([{"CoarseDropout": {"fill": "random"}}], "CoarseDropout has no batched form with fill 'random'"),
        ([{"Normalize": {"normalization": "image"}}], "Normalize has no batched form with normalization 'image'"),
    ],
)
def test_what_it_cannot_do_is_named(entries, reason):
    specs = parse(entries, "test")
    with pytest.raises(NoBatchedForm, match="use the executor 'albumentations' or 'auto'") as problem:
        BatchedAugment(specs)
    assert reason in str(problem.value)


def test_a_crop_larger_than_its_image_is_a_mistake_of_the_recipe():
    with pytest.raises(RecipeError, match=r"^RandomCrop: 40x40 is larger than the 32x32 image it gets$"):
        BatchedAugment(parse([{"RandomCrop": {"height": 40, "width": 40}}], "test"))
