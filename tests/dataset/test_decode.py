"""Images as people have them, and as nobody should: every format right, every bad file a reason."""

import io
import os
import threading

import numpy as np
import PIL.Image
import pytest

from singaudit.dataset import decode as module
from singaudit.dataset.decode import FIRST_FRAME, UndecodableError, content, decode, read_regular_file

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_lossless_formats_come_back_exactly(kind):
    image = PIL.Image.fromarray(RAMP)
    np.testing.assert_array_equal(decode(encoded(image, kind)), np.stack([RAMP] * 3, axis=2))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_come_back_closely(kind):
    pixels = decode(encoded(PIL.Image.fromarray(RAMP).convert("RGB"), kind, quality=95))
    assert np.abs(pixels.astype(int) - RAMP[:, :, None]).max() <= 6


def test_sixteen_bits_are_scaled_not_clipped():
    wide = (np.arange(0, 65536, 1024, dtype=np.uint16)[None] * np.ones((4, 1), np.uint16)).astype(np.uint16)
    pixels = decode(encoded(PIL.Image.fromarray(wide), "PNG"))
    np.testing.assert_array_equal(pixels[:, :, 0], np.rint(wide / 257).astype(np.uint8))


def test_floating_point_tiff_is_read_as_zero_to_one():
    pixels = decode(encoded(PIL.Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF"))
    assert set(np.unique(pixels)) == {128}


def test_transparency_is_laid_over_white():
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (255, 0, 0, 255)
    rgba[0, 1] = (255, 0, 0, 128)
    pixels = decode(encoded(PIL.Image.fromarray(rgba), "PNG"))
    assert pixels[0, 0].tolist() == [255, 0, 0]
    assert pixels[1, 1].tolist() == [255, 255, 255]
    assert abs(int(pixels[0, 1, 1]) - 127) <= 1


def test_palette_with_transparency_and_cmyk_become_rgb():
    palette = PIL.Image.fromarray(np.zeros((2, 2), np.uint8), "P")
    palette.putpalette([10, 20, 30] + [0] * 765)
    assert decode(encoded(palette, "PNG"))[0, 0].tolist() == [10, 20, 30]
    assert decode(encoded(palette, "PNG", transparency=0))[0, 0].tolist() == [255, 255, 255]
    cmyk = PIL.Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    assert decode(encoded(cmyk, "TIFF"))[0, 0].tolist() == [255, 0, 0]


def test_exif_orientation_is_applied():
    image = PIL.Image.fromarray(np.stack([RAMP] * 3, axis=2)[:, :32])
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(image, "PNG", exif=exif)).shape == (32, 64, 3)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_animations_and_documents_give_their_first_frame_and_say_so(kind):
    frames = [PIL.Image.new("RGB", (4, 4), (v, v, v)) for v in (10, 200)]
    options = {"lossless": True} if kind == "WEBP" else {}
    several = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    image = content("a", several).decode()
    assert image.pixels[0, 0, 0] == 10
    assert image.note == FIRST_FRAME
    assert content("a", encoded(frames[0], kind, **options)).note == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an image",
        b"\x89PNG\r\n\x1a\n",
        encoded(PIL.Image.fromarray(RAMP).convert("RGB"), "JPEG")[:200],
        encoded(PIL.Image.fromarray(RAMP), "PNG")[:-30],
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
    ],
)
def test_broken_files_are_undecodable_with_a_reason(data):
    with pytest.raises(UndecodableError) as info:
        decode(data)
    assert str(info.value)


def test_truncated_files_stay_undecodable_whoever_sets_pillows_global_flag():
    # A PDF library in the same process would set it; that is why it never is.
    import PIL.ImageFile

    assert not PIL.ImageFile.LOAD_TRUNCATED_IMAGES


def test_too_many_pixels_are_refused_before_decoding(monkeypatch):
    monkeypatch.setattr(module, "MAX_PIXELS", 1000)
    with pytest.raises(UndecodableError, match="over the cap"):
        decode(encoded(PIL.Image.fromarray(RAMP), "PNG"))


def test_only_regular_files_of_bounded_size_are_read(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"12345")
    assert read_regular_file(path) == b"12345"
    with pytest.raises(UndecodableError, match="over the limit"):
        read_regular_file(path, limit=4)
    with pytest.raises(UndecodableError, match="regular"):
        read_regular_file(tmp_path)
    with pytest.raises(UndecodableError, match="cannot be opened"):
        read_regular_file(tmp_path / "none")


def test_a_fifo_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    done = threading.Event()

    def attempt():
        with pytest.raises(UndecodableError):
            read_regular_file(tmp_path / "pipe.png")
        done.set()

    threading.Thread(target=attempt, daemon=True).start()
    assert done.wait(60)
