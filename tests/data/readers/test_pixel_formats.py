"""Every kind of pixels that files have: read right, or one line."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from zoo.data.datasets import load
from zoo.data.readers.decode import picture
from zoo.errors import DataError

NOISE = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
GREY = np.repeat(NOISE[..., :1], 3, axis=2)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def sixteen_bit_png() -> bytes:
    """RGB with 16 bits a channel, which Pillow does not write: each value twice, as its high and its low byte."""
    rows = b"".join(b"\0" + row.tobytes() for row in np.repeat(NOISE.reshape(8, 27), 2, axis=1))
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 9, 8, 16, 2, 0, 0, 0), b"IDAT": zlib.compress(rows), b"IEND": b""}
    body = (
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def palette(transparent: bool) -> bytes:
    image = Image.fromarray(NOISE).quantize(200)
    return saved(image, "PNG", **({"transparency": 3} if transparent else {}))


RGB, L = Image.fromarray(NOISE), Image.fromarray(NOISE[..., 0])
DEEP = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
FADED = Image.fromarray(np.dstack([NOISE, NOISE[..., 0]]))
PALETTE = np.asarray(Image.fromarray(NOISE).quantize(200).convert("RGB"))
BITS = np.repeat(np.where(NOISE[..., :1] > 127, 255, 0).astype(np.uint8), 3, axis=2)
READ = {
    "1 png": (saved(Image.fromarray(BITS[..., 0]).convert("1"), "PNG"), BITS),
    "1 group4 tiff": (saved(Image.fromarray(BITS[..., 0]).convert("1"), "TIFF", compression="group4"), BITS),
    "L png": (saved(L, "PNG"), GREY),
    "L tiff": (saved(L, "TIFF"), GREY),
    "L pgm": (saved(L, "PPM"), GREY),
    "LA png": (saved(Image.merge("LA", [L, L]), "PNG"), GREY),
    "P png": (palette(False), PALETTE),
    "P png, one colour transparent": (palette(True), PALETTE),
    "P gif": (saved(Image.fromarray(NOISE).quantize(200), "GIF"), PALETTE),
    "L gif": (saved(L, "GIF"), GREY),
    "RGB png": (saved(RGB, "PNG"), NOISE),
    "RGB bmp": (saved(RGB, "BMP"), NOISE),
    "RGB lzw tiff": (saved(RGB, "TIFF", compression="tiff_lzw"), NOISE),
    "RGB deflated tiff": (saved(RGB, "TIFF", compression="tiff_adobe_deflate"), NOISE),
    "RGB webp": (saved(RGB, "WEBP", lossless=True), NOISE),
    "RGBA png": (saved(FADED, "PNG"), NOISE),
    "RGBA tiff": (saved(FADED, "TIFF"), NOISE),
    "CMYK tiff": (saved(RGB.convert("CMYK"), "TIFF"), NOISE),
    "I;16 png": (saved(DEEP, "PNG"), GREY),
    "I;16 tiff": (saved(DEEP, "TIFF"), GREY),
    "I;16B tiff": (saved(Image.frombytes("I;16B", (9, 8), np.asarray(DEEP).astype(">u2").tobytes()), "TIFF"), GREY),
    "RGB png of 16 bits": (sixteen_bit_png(), NOISE),
}
FRAMES = {"save_all": True, "append_images": [Image.fromarray(255 - NOISE)]}
REFUSED = {
    "I tiff": (saved(DEEP.convert("I"), "TIFF"), "32-bit pixels have no fixed range; save it with 8 bits a channel"),
    "F tiff": (saved(L.convert("F"), "TIFF"), "32-bit pixels have no fixed range; save it with 8 bits a channel"),
    "LAB tiff": (saved(Image.merge("LAB", [L, L, L]), "TIFF"), "pixels in LAB, which cannot be converted; save it as"),
    **{
        f"{kind} of two frames": (saved(RGB, kind, **FRAMES), "more than one image in it (frames or pages); save the")
        for kind in ("PNG", "GIF", "WEBP", "TIFF")
    },
}


@pytest.mark.parametrize("kind", READ)
def test_pixels_are_read_as_they_look(kind: str) -> None:
    content, right = READ[kind]
    image = picture(content, "here")
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), right)


@pytest.mark.parametrize("kind", REFUSED)
def test_pixels_of_no_one_meaning_are_one_line(kind: str) -> None:
    content, told = REFUSED[kind]
    with pytest.raises(DataError) as caught:
        picture(content, "here")
    assert str(caught.value).startswith(f"here: {told}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "JPEG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "MPO")])
def test_lossy_kinds_are_near(mode: str, kind: str) -> None:
    """JPEG holds YCbCr, or CMYK; a camera's MPO has the image first and others behind it."""
    smooth = np.asarray(Image.fromarray(NOISE).resize((64, 64), Image.Resampling.BICUBIC))
    options = FRAMES if kind == "MPO" else {}
    content = saved(Image.fromarray(smooth).convert(mode), kind, quality=95, **options)
    right = np.asarray(Image.fromarray(smooth).convert("L" if mode == "L" else "RGB").convert("RGB"))
    assert np.abs(np.asarray(picture(content, "here")).astype(int) - right).mean() < 8


def test_a_turned_tiff_is_turned_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = RGB.transpose(Image.Transpose.ROTATE_90)
    assert np.array_equal(np.asarray(picture(saved(turned, "TIFF", exif=exif), "here")), NOISE)


@pytest.mark.usefixtures("empty_cache")
def test_every_suffix_of_an_image_is_read(tmp_path: Path, files: SimpleNamespace) -> None:
    kinds = {
        ".png": "PNG", ".JPG": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".bmp": "BMP", ".webp": "WEBP", ".ppm": "PPM",
        ".pnm": "PPM", ".tif": "TIFF", ".TIFF": "TIFF", ".gif": "GIF",
    }  # fmt: skip
    for split in ("train", "test"):
        for label in "ab":
            (tmp_path / "set" / split / label).mkdir(parents=True)
            for suffix, kind in kinds.items():
                (tmp_path / "set" / split / label / f"x{suffix}").write_bytes(saved(RGB, kind))
    dataset = load(str(tmp_path / "set"))
    assert (len(dataset.train), dataset.left_out) == (2 * len(kinds), {})


def test_nothing_is_logged_of_a_damaged_tiff(capfd: pytest.CaptureFixture[str]) -> None:
    """libtiff writes on the descriptor of stderr by itself."""
    whole = saved(RGB, "TIFF", compression="jpeg")
    for place in range(8, len(whole), 5):
        with contextlib.suppress(DataError):
            picture(whole[:place] + b"\xff" + whole[place + 1 :], "here")
    assert capfd.readouterr().err == ""
