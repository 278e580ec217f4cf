"""Corruptions of test images by albumentations, in five severities: the same pixels for every model and batch size.

Like CIFAR-10-C (Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", arXiv:1903.12261) in kind, not in number: the arguments below are zoo's own, chosen on 32x32 images so
that the squared pixel difference grows with the severity. To compare with published figures use CIFAR-10-C itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from zoo.errors import unknown
from zoo.utils.seeding import derive

SEVERITIES = (1, 2, 3, 4, 5)
_AREA, _NEAREST_EXACT, _REFLECT_101 = 3, 6, 4  # OpenCV's numbers; importing it takes time


def _fixed(cls: str, key: str, values: Sequence[float], **rest: Any) -> tuple[str, tuple[dict[str, Any], ...]]:
    """One argument that albumentations takes as a range, the same at both ends, by severity."""
    return cls, tuple({key: (value, value), **rest} for value in values)


CORRUPTIONS: dict[str, tuple[str, tuple[dict[str, Any], ...]]] = {
    # Standard deviation, on a scale of 0 to 1, of each pixel and channel.
    "noise": _fixed("GaussNoise", "std_range", (0.02, 0.04, 0.07, 0.10, 0.14)),
    # Poisson noise on linear intensities: the reciprocal of the number of photons at white.
    "shot": _fixed("ShotNoise", "scale_range", (0.002, 0.006, 0.015, 0.03, 0.06)),
    # Share of pixels that become black or white.
    "impulse": _fixed("SaltAndPepper", "amount", (0.01, 0.02, 0.04, 0.07, 0.11), salt_vs_pepper=(0.5, 0.5)),
    # Standard deviation in pixels.
    "blur": _fixed("GaussianBlur", "sigma_limit", (0.5, 0.7, 0.9, 1.2, 1.6), blur_limit=0),
    # A disc of so many pixels' radius, its edge softened.
    "defocus": (
        "Defocus",
        tuple(
            {"radius": (radius, radius), "alias_blur": (soft, soft)}
            for radius, soft in ((1, 0.3), (1, 0.6), (2, 0.3), (2, 0.6), (3, 0.3))
        ),
    ),
    # Length in pixels of a centred line in a random direction.
    "motion": _fixed("MotionBlur", "blur_limit", (3, 5, 7, 9, 11), allow_shifted=False, direction_range=(0.0, 0.0)),
    # Mean of the image magnified by 1 up to this factor.
    "zoom": _fixed("ZoomBlur", "max_factor", (1.06, 1.12, 1.18, 1.24, 1.32), step_factor=(0.02, 0.02)),
    "jpeg": _fixed("ImageCompression", "quality_range", (80, 50, 30, 18, 10), compression_type="jpeg"),
    # Side of a 32-pixel image after averaging; it is then enlarged again without interpolation.
    "pixelate": _fixed(
        "Downscale",
        "scale_range",
        tuple(side / 32 for side in (26, 22, 18, 14, 10)),
        interpolation_pair={"downscale": _AREA, "upscale": _NEAREST_EXACT},
    ),
    # Share of the distance from middle grey that is taken away.
    "contrast": (
        "RandomBrightnessContrast",
        tuple(
            {"contrast_limit": (-share, -share), "brightness_limit": (share / 2, share / 2)}
            for share in (0.2, 0.4, 0.55, 0.7, 0.82)
        ),
    ),
    # Share of the full scale that is added or taken away.
    "brightness": _fixed(
        "RandomBrightnessContrast", "brightness_limit", (0.08, 0.16, 0.24, 0.32, 0.4), contrast_limit=(0.0, 0.0)
    ),
    "dark": _fixed(
        "RandomBrightnessContrast", "brightness_limit", (-0.08, -0.16, -0.24, -0.32, -0.4), contrast_limit=(0.0, 0.0)
    ),
    # Share of the colour that is left; at severity 5 the image is grey.
    "saturation": _fixed(
        "ColorJitter", "saturation", (0.8, 0.6, 0.4, 0.2, 0.0), brightness=(1, 1), contrast=(1, 1), hue=(0, 0)
    ),
    # Clouds of plasma that brighten and take contrast. RandomFog draws circle by circle: ten times the time, and at
    # 32 pixels its circles are as large as what is seen.
    "fog": (
        "PlasmaBrightnessContrast",
        tuple(
            {"brightness_range": (light, light), "contrast_range": (-flat, -flat), "roughness": 0.4}
            for light, flat in ((0.2, 0.3), (0.35, 0.45), (0.5, 0.6), (0.65, 0.75), (0.8, 0.85))
        ),
    ),
    # Strength of a random displacement that is smooth over 3 pixels.
    "elastic": (
        "ElasticTransform",
        tuple({"alpha": alpha, "sigma": 3, "border_mode": _REFLECT_101} for alpha in (10, 18, 26, 36, 48)),
    ),
    # Degrees, counter-clockwise.
    "rotate": _fixed("Rotate", "limit", (5, 10, 20, 30, 45), border_mode=_REFLECT_101),
}
"""Name to albumentations' class and its arguments at severities 1 to 5."""


def choose(names: Iterable[str], choices: Iterable[str] = CORRUPTIONS, where: str = "zoo's corruptions") -> list[str]:
    """`names` without repeats, with ``all`` for every one of `choices`.

    Raises :class:`zoo.errors.UnknownNameError` with the nearest names.
    """
    choices = list(choices)
    chosen: dict[str, None] = {}
    for name in names:
        if name != "all" and name not in choices:
            raise unknown("corruption", name, choices, where, f"there are {', '.join(choices)}, or all")
        chosen.update(dict.fromkeys(choices if name == "all" else [name]))
    return list(chosen)


def corrupt(images: np.ndarray, corruption: str, severity: int, rows: np.ndarray | None = None) -> np.ndarray:
    """(N, H, W, 3) uint8 to a corrupted copy of the same shape; of `rows`, (M,) int64, alone where they are given.

    The pixels of an image depend on its content, (corruption, severity) and its row in `images`, on nothing else.
    Raises KeyError for a name that :func:`choose` does not give, IndexError for a severity that is not 1 to 5.
    """
    from zoo.data.augment.reference import ReferenceAugment
    from zoo.data.augment.spec import TransformSpec

    if severity not in SEVERITIES:
        raise IndexError(f"severity {severity} is not 1 to 5")
    cls, arguments = CORRUPTIONS[corruption]
    augment = ReferenceAugment([TransformSpec(cls, {**arguments[severity - 1], "p": 1})])
    rows = np.arange(len(images)) if rows is None else rows
    out = np.empty((len(rows), *images.shape[1:]), dtype=np.uint8)
    key = derive("corrupt", corruption, severity)
    for index, row in enumerate(rows.tolist()):
        out[index] = augment(images[row], key, 0, row).transpose(1, 2, 0)
    return out
