"""What a model file is, by its content: read in a few bounded looks, nothing in it is unpickled or run."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from pathlib import Path
from typing import Literal

from singaudit.classifier.files.foreign import refuse_archive, refuse_start
from singaudit.errors import ModelError

Content = Literal["onnx", "weights", "TorchScript", "exported program", "folder"]
"""What a path holds. "weights" are tensors by name as torch.save or safetensors writes them; whether a pickle among
them holds more than weights shows when it is read."""

KINDS = (
    "an .onnx file, weights (.pt, .pth, .ckpt, .safetensors) with --arch, a transformers folder, timm:NAME, "
    "hf:ORG/NAME or torchvision:NAME"
)
_LARGEST_DIRECTORY = 32 << 20
"""Bytes of a zip archive's table of contents; 100,000 tensors take some 10 MB."""
_LARGEST_UNPACKED = 64 << 20
"""Bytes that all compressed entries of an archive may hold: code and tables of TorchScript, never weights."""
_END, _END64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q")


def recognise(path: Path) -> Content:
    """What ``path`` holds. Raises ModelError for what is missing, unreadable, no file, or no classifier."""
    try:
        state = path.stat()
    except (OSError, ValueError) as error:
        reason = "no such model file" if isinstance(error, FileNotFoundError | ValueError) else "cannot read"
        raise ModelError(f"{reason}: {path}", hint=f"Give {KINDS}.") from error
    if stat.S_ISDIR(state.st_mode):
        return "folder"
    check_regular(path)
    if state.st_size == 0:
        raise ModelError(f"{path} is empty; expected a model", hint="Export or download it again.")
    with path.open("rb") as stream:
        start = stream.read(512)
    refuse_start(path, start)
    if start[257:262] == b"ustar":
        raise ModelError(
            f"{path.name} is a tar archive; expected a model file",
            hint="Unpack it; weights in torch's tar format of 2016 have to be saved again with torch.save.",
        )
    if start.startswith(b"PK\x03\x04"):
        return _archive(path)
    if start.startswith(b"PK"):
        raise ModelError(f"{path.name} is an empty or split zip archive", hint="Save or download it again.")
    if _is_safetensors(start, state.st_size) or (start[0] == 0x80 and 2 <= start[1] <= 5):
        return "weights"
    if path.suffix.lower() in (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".pt2") and not _like_onnx(start):
        raise ModelError(
            f"{path.name} is neither a torch checkpoint nor safetensors, or its beginning is damaged",
            hint="Save or download it again.",
        )
    return "onnx"


def check_regular(path: Path) -> None:
    """ModelError unless ``path`` is a regular file that may be read; a FIFO or a device is never opened."""
    try:
        state = path.stat()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}", hint="Check the path and its permissions.") from error
    if not stat.S_ISREG(state.st_mode):
        raise ModelError(f"expected a model file, {path} is not a regular file", hint=f"Give {KINDS}.")
    if not os.access(path, os.R_OK):
        raise ModelError(f"cannot read {path}: permission denied", hint="Make the file readable.")


def _like_onnx(start: bytes) -> bool:
    """Whether it starts as a ModelProto does: with its IR version, a small number."""
    return len(start) > 1 and start[0] == 0x08 and start[1] < 0x40


def _is_safetensors(start: bytes, size: int) -> bool:
    if len(start) < 9 or start[8:9] != b"{":
        return False
    return struct.unpack("<Q", start[:8])[0] < max(size, 1 << 40)


def _archive(path: Path) -> Content:
    names = {name.partition("/")[2] for name in archive_names(path)}
    if "archive_format" in names or any(name.startswith(("serialized_exported_program", "models/")) for name in names):
        return "exported program"
    if any(name.startswith("serialized_exported_program") for name in archive_names(path)):
        return "exported program"
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        return "TorchScript"
    if "data.pkl" in names:
        return "weights"
    refuse_archive(path, archive_names(path))
    raise ModelError(
        f"{path.name} is a zip archive that holds no torch model ({len(names)} entries)",
        hint=f"Unpack it; give {KINDS}.",
    )


def archive_names(path: Path) -> list[str]:
    """Names of a zip archive's entries, once it is known that reading it takes no more than its size.

    Raises ModelError for a damaged archive, one whose entries claim more bytes than there are, compressed ones that
    unfold to more than code needs, and encrypted ones.
    """
    size = path.stat().st_size
    try:
        if _directory_bytes(path, size) > _LARGEST_DIRECTORY:
            raise ModelError(f"{path.name} lists more entries than a model has", hint="Save it again.")
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{path.name} is a damaged or cut-short archive: {error}", hint="Save or download it again."
        ) from error
    stored = sum(entry.file_size for entry in entries if entry.compress_type == zipfile.ZIP_STORED)
    packed = sum(entry.file_size for entry in entries if entry.compress_type != zipfile.ZIP_STORED)
    lies = [e for e in entries if e.compress_type == zipfile.ZIP_STORED and e.file_size != e.compress_size]
    if stored > size or packed > _LARGEST_UNPACKED or lies:
        raise ModelError(
            f"{path.name} has {size:,} bytes but its entries claim {stored + packed:,}: not what torch writes",
            hint="Save it again with torch.save, which compresses nothing.",
        )
    if any(entry.flag_bits & 1 for entry in entries):
        raise ModelError(f"{path.name} is an encrypted archive", hint="Decrypt it first.")
    if len({entry.filename for entry in entries}) < len(entries):
        raise ModelError(f"{path.name} holds two entries of the same name", hint="Save it again.")
    return [entry.filename for entry in entries]


def _directory_bytes(path: Path, size: int) -> int:
    """Size of the archive's table of contents, before anything in it is read."""
    with path.open("rb") as stream:
        stream.seek(max(0, size - 65_557 - _END64.size - 20))
        tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + _END.size:
        raise zipfile.BadZipFile("its end is missing")
    found: int = _END.unpack_from(tail, at)[5]
    if found == 0xFFFFFFFF:
        at = tail.rfind(b"PK\x06\x06")
        if at < 0 or len(tail) < at + _END64.size:
            raise zipfile.BadZipFile("its end is missing")
        found = _END64.unpack_from(tail, at)[8]
    return found
