"""Images are told by their suffix or by their first bytes, and read as the formats' own libraries read them."""

import io

import numpy as np
import PIL.Image
import pytest

from singaudit.dataset import formats
from singaudit.dataset.decode import UndecodableError, content, decode
from singaudit.dataset.formats import format_of, looked_into, unread

LOSSLESS = {
    "PNG": {}, "BMP": {}, "TIFF": {}, "GIF": None, "PPM": {}, "WEBP": {"lossless": True},
    "JPEG2000": {"irreversible": False}, "JPEG": None, "AVIF": None,
}  # fmt: skip
"""How Pillow keeps every pixel, None for formats that do not."""


def picture(side=24):
    y, x = np.mgrid[:side, :side]
    return np.stack([10 * x, 5 * y, x * 3 + y * 2], axis=-1).astype(np.uint8)


def encoded(kind, **options):
    buffer = io.BytesIO()
    PIL.Image.fromarray(picture()).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", formats.FORMATS)
def test_every_format_is_told_by_its_beginning_and_decoded_as_pillow_does(kind):
    data = encoded(kind, **(LOSSLESS[kind] or {}))
    assert format_of(data[: formats.START]) == kind
    with PIL.Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decode(data), np.asarray(image.convert("RGB")))
    if LOSSLESS[kind] is not None:
        np.testing.assert_array_equal(decode(data), picture())


def test_heic_and_jpeg_xl_are_read_by_their_own_packages():
    heif, jxl = pytest.importorskip("pillow_heif"), pytest.importorskip("pillow_jxl")
    assert jxl is not None
    formats.readable_formats.cache_clear()
    assert {"HEIF", "JXL"} <= set(formats.readable_formats())
    shown = encoded("HEIF", quality=90)
    assert format_of(shown[: formats.START]) == "HEIF"
    np.testing.assert_array_equal(
        decode(shown), np.asarray(heif.read_heif(io.BytesIO(shown)).to_pillow().convert("RGB"))
    )
    lossless = encoded("JXL", lossless=True)
    assert format_of(lossless[: formats.START]) == "JXL"
    np.testing.assert_array_equal(decode(lossless), picture())


def test_what_a_missing_package_would_read_is_named_with_its_extra(monkeypatch):
    pytest.importorskip("pillow_heif")
    formats.readable_formats()
    data = encoded("HEIF")
    monkeypatch.setattr(formats, "readable_formats", lambda: formats.FORMATS)
    monkeypatch.setattr("singaudit.dataset.decode.readable_formats", lambda: formats.FORMATS)
    with pytest.raises(UndecodableError, match=r"singaudit\[heic\]"):
        decode(data)


def test_an_animated_avif_says_that_one_frame_was_used():
    buffer = io.BytesIO()
    frames = [PIL.Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "AVIF", save_all=True, append_images=frames[1:])
    assert "first of several frames" in content("a.avif", buffer.getvalue()).note


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"P5 8 8\n255\n", "PPM"),
        (b"P5 is a kind of car", None),
        (b"BMW cars are here, said", None),
        (b"{}", None),
        (b"", None),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", None),
    ],
)
def test_texts_and_videos_are_no_images(start, kind):
    assert format_of(start) == kind


def test_only_what_no_suffix_explains_is_looked_into():
    assert [looked_into(name) for name in ("a", "a.bin", "a.dat", ".hidden")] == [True] * 4
    assert not any(looked_into(name) for name in ("a.txt", "a.jpg", "a.npy", "a.json", "a.dng"))
    assert "raw" in unread("IMG.DNG")
    assert unread("a.jpg") == ""
