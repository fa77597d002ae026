"""Which files are images: by their suffix, and by their first bytes where the suffix says nothing."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM")
"""Pillow's names of the formats that are decoded."""
_EXTRAS: Mapping[str, tuple[str, str, str]] = {
    "HEIF": ("pillow_heif", "register_heif_opener", "heic"),
    "JXL": ("pillow_jxl", "", "jxl"),
}
"""By Pillow's name: the package that reads it, the function that tells Pillow so, and the extra that installs it."""
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".avif",
    ".jp2", ".j2k", ".jpx", ".jpf", ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".hif", ".jxl",
)  # fmt: skip
"""Of files that are images by their name."""
_RAW = (".dng", ".nef", ".cr2", ".cr3", ".crw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".sr2", ".3fr", ".nrw")
_UNREAD: Mapping[str, str] = {
    **dict.fromkeys(_RAW, "is a camera's raw file: only the preview in it could be read; develop it first"),
    **dict.fromkeys((".psd", ".psb", ".xcf", ".kra"), "is a drawing of layers; save it as PNG"),
    **dict.fromkeys((".svg", ".eps", ".ai", ".wmf", ".emf"), "is a drawing without pixels; save it as PNG"),
    **dict.fromkeys(
        (".dcm", ".dicom", ".nii", ".mha", ".nrrd"), "is a medical image; save it as PNG as the classifier gets it"
    ),
    **dict.fromkeys((".hdr", ".exr", ".tga", ".dds", ".ico", ".pcx"), "is an image of a format that is not read"),
    **dict.fromkeys((".npy", ".npz"), "is an array, of which nothing says how it becomes pixels"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm"), "is a video; take images from it first"),
}
"""Why files of these suffixes are left out though they show something."""
_OTHER = frozenset(
    {
        *(".txt", ".lst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".md", ".rst"),
        *(".html", ".htm", ".pdf", ".py", ".ipynb", ".sh", ".log", ".cls", ".cache", ".pkl", ".pickle", ".mat", ".h5"),
        *(".tar", ".gz", ".tgz", ".zip", ".parquet", ".arrow", ".pt", ".pth", ".onnx", ".safetensors", ".db", ".lock"),
        *(".wav", ".mp3", ".flac", ".doc", ".docx", ".xls", ".xlsx", ".license", ".names", ".data", ".crc", ".md5"),
    }
)
"""Suffixes of what lies beside images; such files are not looked into."""
START = 32
"""Bytes that tell a format."""
_PPM = re.compile(rb"P[1-6][\s#]\s*[\d#]")
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIF", b"heix": "HEIF", b"heim": "HEIF", b"heis": "HEIF",
           b"hevc": "HEIF", b"hevx": "HEIF", b"mif1": "HEIF", b"msf1": "HEIF"}  # fmt: skip
_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"), (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JXL"), (b"\xff\x0a", "JXL"),
)  # fmt: skip


def looked_into(name: str) -> bool:
    """Whether only its first bytes can tell if the file of this name is an image."""
    suffix = suffix_of(name)
    return suffix not in _OTHER and suffix not in SUFFIXES and suffix not in _UNREAD


def suffix_of(name: str) -> str:
    """The last suffix of a file's name in lower case, with its dot; "" for none."""
    file = name.rpartition("/")[2].lower()
    return file[file.rindex(".") :] if "." in file[1:] else ""


def unread(name: str) -> str:
    """Why a file of this name is left out though it may show something, one clause; "" for all others."""
    return _UNREAD.get(suffix_of(name), "")


def format_of(start: bytes) -> str | None:
    """Pillow's name of the image format that begins so (``START`` bytes); None for anything else."""
    for magic, name in _MAGIC:
        if start.startswith(magic):
            return name
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if start[4:8] == b"ftyp":
        brands = [start[8:12], *(start[at : at + 4] for at in range(16, len(start) - 3, 4))]
        found = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        return "AVIF" if "AVIF" in found else found[0] if found else None
    if start[:2] == b"BM" and len(start) >= 18 and int.from_bytes(start[14:18], "little") in (12, 40, 52, 56, 108, 124):
        return "BMP"
    return "PPM" if _PPM.match(start) else None


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that can be decoded here: its own, and those of installed packages."""
    found = list(FORMATS)
    for name, (package, register, _) in _EXTRAS.items():
        try:
            module = __import__(package)  # importing pillow_jxl registers it
            if register:
                getattr(module, register)()
        except (ImportError, AttributeError, OSError):
            continue
        found.append(name)
    return tuple(found)


def lacking(start: bytes) -> str:
    """What to install where the image that begins so is of a format that cannot be decoded here, one clause;
    "" for all others."""
    name = format_of(start)
    if name is None or name not in _EXTRAS or name in readable_formats():
        return ""
    return f"is {name}, which needs pip install 'singaudit[{_EXTRAS[name][2]}]'"
