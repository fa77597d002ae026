"""Lists, tables, shards and label files that are damaged, lie, or lead elsewhere."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from hostile import Case
from picture_files import NOISE, encoded

PNG = encoded(NOISE, "PNG")


def audited(name: str, content: bytes | str) -> Callable[[Path], Sequence[str]]:
    """An audit of the images that a file of this name and content names."""

    def make(folder: Path) -> Sequence[str]:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        (folder.parent / f"{folder.name}-secret.png").write_bytes(PNG)
        return ["pack", "--images", name, "--vlm", "builtin:shapes", "-o", "x.pack", "--progress", "none"]

    return make


def tar(*members: tuple[str, bytes | str, bytes]) -> bytes:
    """(name, content or where a link points, type) of each member."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if isinstance(content, str):
                info.linkname = content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def _lying() -> bytes:
    data = bytearray(tar(("a.png", PNG, tarfile.REGTYPE)))
    data[124:136] = b"77777777777\0"
    checksum = sum(data[:148]) + 8 * 32 + sum(data[156:512])
    data[148:156] = f"{checksum:06o}\0 ".encode()
    return bytes(data)


def parquet(**columns: object) -> Callable[[Path], Sequence[str]]:
    """An audit of a Parquet file with these columns; a name's last ``_`` is left out."""

    def make(folder: Path) -> Sequence[str]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrays = [pa.array(column) for column in columns.values()]
        table = pa.Table.from_arrays(arrays, names=[name.rstrip("_") for name in columns])
        pq.write_table(table, folder / "x.parquet")
        return ["pack", "--images", "x.parquet", "--vlm", "builtin:shapes", "-o", "x.pack", "--progress", "none"]

    return make


WORDS = ("image", "expected", "could be used")
CASES = [
    Case("an empty list", audited("x.txt", ""), WORDS),
    Case("a list of nothing that exists", audited("x.txt", "nowhere.png\nelsewhere.png\n"), WORDS),
    Case("a list of devices", audited("x.txt", "/dev/zero\n/dev/random\n"), WORDS),
    Case("a list of addresses", audited("x.txt", "https://example.org/a.png\nfile:///etc/passwd\n"), WORDS),
    Case("a list that is binary", audited("x.txt", b"\xff\xfe\x00\xd8"), WORDS),
    Case("a list of zero bytes", audited("x.txt", b"\0" * 4096), WORDS),
    Case("a list of one endless line", audited("x.txt", "x" * 2**21), WORDS),
    Case("a list that names itself", audited("x.txt", "x.txt\n"), WORDS),
    Case("an empty table", audited("x.csv", ""), WORDS),
    Case("a table without paths", audited("x.csv", "a,b\n1,2\n"), WORDS),
    Case("a table of nothing that exists", audited("x.csv", "path,label\nnowhere.png,cat\n"), WORDS),
    Case("a table with an open quote", audited("x.csv", 'path,label\n"a.png,cat\n' * 99), WORDS),
    Case("a table that is binary", audited("x.csv", b"path\n\xff\xfe\x00\xd8"), WORDS),
    Case("a table of formulas", audited("x.csv", "path,label\n=cmd|' /C calc'!A0,=1+1\n"), WORDS),
    Case("a Parquet file that is none", audited("x.parquet", b"PAR1" + b"\0" * 99), WORDS),
    Case("an empty Parquet file", audited("x.parquet", b""), WORDS),
    Case("a Parquet file with a column twice", parquet(image=[PNG], image_=[PNG]), "distinct names"),
    Case("a Parquet file whose labels are lists", parquet(image=[PNG], label=[[1, 2]]), "label"),
    Case("a Parquet file of lists of images", parquet(image=[[PNG]]), "column image"),
    Case("a Parquet file without rows", parquet(path=[]), WORDS),
    Case("a shard that is none", audited("x.tar", b"this is no archive" * 99), WORDS),
    Case("an empty shard", audited("x.tar", b""), WORDS),
    Case("half a shard", audited("x.tar", tar(("a.png", PNG, tarfile.REGTYPE))[:700]), WORDS),
    Case("a shard without images", audited("x.tar", tar(("a.txt", b"x", tarfile.REGTYPE))), WORDS),
    Case("a shard whose member lies about its size", audited("x.tar", _lying()), WORDS),
    Case("a shard of links to secrets", audited("x.tar", tar(("a.png", "/etc/passwd", tarfile.SYMTYPE))), WORDS),
    Case("a shard of hard links", audited("x.tar", tar(("a.png", "../secret.png", tarfile.LNKTYPE))), WORDS),
    Case("a shard of devices", audited("x.tar", tar(("a.png", b"", tarfile.CHRTYPE))), WORDS),
    Case("a shard of FIFOs", audited("x.tar", tar(("a.png", b"", tarfile.FIFOTYPE))), WORDS),
    Case("a shard of broken images", audited("x.tar", tar(("../../a.png", b"nonsense", tarfile.REGTYPE))), WORDS),
    Case("a compressed bomb in a shard's place", audited("x.tar.gz", gzip.compress(b"\0" * 2**24)), WORDS),
    Case("a compressed bomb named as a shard", audited("x.tar", gzip.compress(b"\0" * 2**24)), WORDS),
    Case(
        "a folder of the hub's that leads elsewhere",
        lambda folder: ["pack", "--images", "hf:../../etc", "--vlm", "builtin:shapes", "-o", "x.pack"],
        ("hf:", *WORDS),
    ),
    Case(
        "an empty name on the hub",
        lambda folder: ["pack", "--images", "hf:", "--vlm", "builtin:shapes", "-o", "x.pack"],
        ("hf:", *WORDS),
    ),
]
