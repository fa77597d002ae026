"""Colour spaces, depths and orientations against pixels known beforehand; files no library here can write are built
by hand from the formats' own specifications."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from singaudit.dataset.decode import UndecodableError, decode

SIDE = 4


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(data):
    found = decode(data)
    assert (found == found[0, 0]).all()
    return found[0, 0].tolist()


def png(value, transparent=None):
    """A PNG of 16 bits a channel; 1 channel: grey, 2: grey and alpha, 3: RGB, 4: RGB and alpha."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    kind = {1: 0, 2: 4, 3: 2, 4: 6}[len(value)]
    row = b"\0" + struct.pack(f">{len(value)}H", *value) * SIDE
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 16, kind, 0, 0, 0))
        + (chunk(b"tRNS", struct.pack(">H", transparent)) if transparent is not None else b"")
        + chunk(b"IDAT", zlib.compress(row * SIDE))
        + chunk(b"IEND", b"")
    )


def tiff(data, bits, samples=1, sample_format=1, photometric=1):
    """An uncompressed little-endian TIFF of one strip."""
    several = struct.pack(f"<{samples}H", *[bits] * samples) + struct.pack(f"<{samples}H", *[sample_format] * samples)
    start = 8 + 2 + 10 * 12 + 4
    inline = samples == 1
    entries = [
        (256, 4, 1, SIDE), (257, 4, 1, SIDE), (258, 3, samples, bits if inline else start), (259, 3, 1, 1),
        (262, 3, 1, photometric), (273, 4, 1, start + len(several)), (277, 3, 1, samples), (278, 4, 1, SIDE),
        (279, 4, 1, len(data)), (339, 3, samples, sample_format if inline else start + 2 * samples),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", 0) + several + data


def words(*values):
    return struct.pack(f"<{len(values)}H", *values) * SIDE**2


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png([0x8080]), [128] * 3),
        (png([0xFFFF]), [255] * 3),
        (png([0, 0x8080]), [127] * 3),
        (png([0x8080, 0xFFFF, 0x0101]), [128, 255, 1]),
        (png([0, 0, 0xFFFF, 0]), [255, 255, 255]),
        (png([0x1234], transparent=0x1234), [255] * 3),
        (png([0x1234], transparent=0x1235), [18] * 3),
        (tiff(words(0x8080), 16), [128] * 3),
        (tiff(words(0x2020), 16, photometric=0), [223] * 3),
        (tiff(words(0x8080, 0xFFFF, 0x0101), 16, samples=3, photometric=2), [128, 255, 1]),
        (tiff(words(0, 0xFFFF, 0xFFFF, 0), 16, samples=4, photometric=5), [255, 0, 0]),
        (tiff(b"\x80\x08\x00" * 8, 12), [128] * 3),
        (tiff(struct.pack("<f", 0.5) * SIDE**2, 32, sample_format=3), [128] * 3),
        (tiff(struct.pack("<f", 200.0) * SIDE**2, 32, sample_format=3), [200] * 3),
    ],
)
def test_sixteen_twelve_and_floating_point_bits_are_scaled(data, expected):
    assert pixel(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        tiff(struct.pack("<I", 0x80808080) * SIDE**2, 32),
        tiff(struct.pack("<h", 0x4040) * SIDE**2, 16, sample_format=2),
        tiff(struct.pack("<f", 1000.0) * SIDE**2, 32, sample_format=3),
    ],
)
def test_numbers_of_a_range_that_nobody_states_are_not_guessed(data):
    with pytest.raises(UndecodableError, match="no format says what white is"):
        decode(data)


def test_inverted_cmyk_of_adobe_is_read_as_ink():
    data = encoded(PIL.Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    assert b"Adobe" in data
    assert np.abs(decode(data)[0, 0].astype(int) - [255, 0, 0]).max() <= 2


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "YCbCr", "CMYK"])
def test_every_mode_gives_white_for_white(mode):
    image = PIL.Image.new("RGB", (SIDE, SIDE), "white").convert(mode)
    assert np.abs(decode(encoded(image, "TIFF")).astype(int) - 255).max() <= 1


@pytest.mark.parametrize("alpha", [0, 128, 255])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_over_white(kind, alpha):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    found = pixel(encoded(PIL.Image.new("RGBA", (SIDE, SIDE), (200, 0, 0, alpha)), kind, **options))
    expected = [round(c * alpha / 255 + 255 - alpha) for c in (200, 0, 0)]
    assert np.abs(np.subtract(found, expected)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations(orientation):
    """EXIF 2.3, tag 0x0112: which corner of the stored picture is the visual top left."""
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16], upright[:8, 16:], upright[8:, :16] = 60, 120, 180
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    data = encoded(PIL.Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    np.testing.assert_array_equal(decode(data), upright)


def test_metadata_that_is_damaged_does_not_cost_the_picture():
    image = PIL.Image.new("RGB", (8, 8), (100, 100, 100))
    data = encoded(image, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert np.abs(decode(data).astype(int) - 100).max() <= 1


def test_a_header_that_lies_about_its_size_allocates_nothing():
    data = bytearray(png([0x8080]))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    with pytest.raises(UndecodableError, match="pixels"):
        decode(bytes(data))
