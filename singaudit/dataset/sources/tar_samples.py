"""Which members of a tar archive belong together: samples as webdataset names them, an image each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from singaudit.dataset.decode import UndecodableError
from singaudit.dataset.formats import START, SUFFIXES, format_of, looked_into, suffix_of, unread
from singaudit.dataset.interface import Skipped
from singaudit.dataset.sources.tar_index import Member, Shard
from singaudit.errors import DatasetError

BESIDE = (".cls", ".json", ".txt")
"""Suffixes of members that say something of their sample's image."""


@dataclass(frozen=True)
class Sample:
    """An image and what lies beside it."""

    image: Member
    beside: Mapping[str, Member]
    """By suffix, of ``BESIDE``."""


@dataclass(frozen=True)
class Samples:
    """What an archive holds."""

    samples: Sequence[Sample]
    """In the order of their images."""
    left_out: Sequence[Skipped]
    """Members that cannot be read, and further images of samples."""


def read_samples(shard: Shard) -> Samples:
    """The samples of an archive.

    A key ends at the first dot of the file name, as webdataset has it: KEY.jpg, KEY.cls, KEY.mask.png. Where no image
    of a key has a plain suffix, dots belong to the names: IMG_2020.01.jpg and IMG_2020.01.cls are of one sample.
    Hidden members (._KEY.jpg, __MACOSX/) are no part of the data. Raises ``DatasetError`` for a sample of several
    images of which nothing says which one its label is of.
    """
    images: dict[str, dict[str, Member]] = {}
    beside: dict[str, dict[str, Member]] = {}
    left_out: list[Skipped] = []
    for member in shard.members:
        if _hidden(member.name):
            continue
        suffix = suffix_of(member.name)
        if member.reason and (suffix not in BESIDE or "archive" in member.reason):
            left_out.append(Skipped(f"{shard.name}/{member.name}", member.reason))
        elif suffix in BESIDE:
            beside.setdefault(_key(member.name), {})[member.name] = member
        elif suffix in SUFFIXES or (looked_into(member.name) and _is_image(shard, member)):
            named = images.setdefault(_key(member.name), {})
            if member.name in named:
                left_out.append(Skipped(f"{shard.name}/{member.name}", "is replaced by a later member of this name"))
            named[member.name] = member
        elif reason := unread(member.name):
            left_out.append(Skipped(f"{shard.name}/{member.name}", reason))
    samples: list[Sample] = []
    for key, named in images.items():
        own, others = _of_key(shard, key, named, beside.get(key, {}))
        samples += own
        left_out += others
    samples.sort(key=lambda sample: sample.image.offset)
    return Samples(samples, left_out)


def _of_key(
    shard: Shard, key: str, images: Mapping[str, Member], beside: Mapping[str, Member]
) -> tuple[list[Sample], list[Skipped]]:
    """The samples that share a key, and the images among them that are left out."""
    if len(images) == 1:
        (name, image), *_ = images.items()
        stem = _stem(name)
        exact = {suffix_of(n): m for n, m in beside.items() if _stem(n) == stem}
        plain = {suffix_of(n): m for n, m in beside.items() if _stem(n) == key}
        return [Sample(image, {**plain, **exact})], []
    plain_images = [name for name in images if _stem(name) == key]
    if len(plain_images) == 1:
        own = {suffix_of(n): m for n, m in beside.items() if _stem(n) == key}
        others = [
            Skipped(f"{shard.name}/{name}", f"is a further image of the sample of {plain_images[0]}")
            for name in images
            if name not in plain_images
        ]
        return [Sample(images[plain_images[0]], own)], others
    stems: dict[str, list[str]] = {}
    for name in images:
        stems.setdefault(_stem(name), []).append(name)
    shared = any(_stem(name) not in stems for name in beside) or any(
        len(names) > 1 and any(_stem(n) == stem for n in beside) for stem, names in stems.items()
    )
    if shared:
        raise DatasetError(
            f"expected one image in each sample of {shard.path}, {key!r} has {', '.join(list(images)[:4])}",
            hint="Call the photograph KEY.jpg and others KEY.mask.png, or leave the others out.",
        )
    return [
        Sample(image, {suffix_of(n): m for n, m in beside.items() if _stem(n) == _stem(name)})
        for name, image in images.items()
    ], []


def _hidden(name: str) -> bool:
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _key(name: str) -> str:
    """A member's path up to the first dot of its file name."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _stem(name: str) -> str:
    """A member's path up to the last dot of its file name."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


def _is_image(shard: Shard, member: Member) -> bool:
    try:
        return format_of(shard.read(member.offset, min(member.size, START))) is not None
    except UndecodableError:
        return False
