"""Images in an object store, below a URI: read through fsspec, with the credentials that its client finds by itself."""

from __future__ import annotations

import posixpath
from typing import Any

from singaudit.dataset.decode import MAX_BYTES, UndecodableError
from singaudit.dataset.formats import SUFFIXES, looked_into, unread
from singaudit.dataset.interface import OWN_LABELS, Skipped
from singaudit.dataset.sources.folder import folder_labels, readable, taken_split
from singaudit.dataset.sources.label_tools import TOOL_FILES
from singaudit.dataset.sources.listing import Listing
from singaudit.dataset.sources.metadata_table import METADATA_FILES
from singaudit.errors import DatasetError, MachineError, short

EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure"}
"""Scheme of a URI -> the extra that reads it."""
_MAX_OBJECTS = 20_000_000
_EXPECTED = "expected images below a URI such as s3://bucket/folder"


def open_objects(text: str, label: str | None = None) -> Listing:
    """List the images below the URI ``text``, names sorted by code point; one listing, and one request an image.

    Images are told by their suffix. Labels are the subfolders, as ``open_folder`` takes them; of splits one is taken.
    Metadata files are not read there, which is said. Raises ``DatasetError`` where nothing is found, and
    ``MachineError`` where the store cannot be reached.
    """
    if label is not None:
        raise DatasetError(
            f"expected a table with the column {label!r}, {text} is a folder of an object store",
            hint="Leave --label-column out, and give labels with --labels FILE.",
        )
    store, root = _store(text)
    try:
        entries: dict[str, dict[str, Any]] = store.find(root, detail=True)
    except FileNotFoundError:
        entries = {}
    except Exception as error:  # each client raises its own kinds for what is refused or cannot be reached
        raise MachineError(
            f"{text} cannot be listed: {short(error)}",
            hint="Check the URI, the network and the credentials: the client reads its usual variables and files.",
        ) from error
    if len(entries) > _MAX_OBJECTS:
        raise DatasetError(f"expected at most {_MAX_OBJECTS} images, found more below {text}")
    # A key is a text, not a path: what looks like an empty or an upper folder in it stays as it is.
    below = {path.removeprefix(f"{root}/"): entry for path, entry in entries.items() if path.startswith(f"{root}/")}
    files, left_out = _images(below)
    if not files:
        first = f"; left out: {left_out[0].name} {left_out[0].reason}" if left_out else ""
        raise DatasetError(f"{_EXPECTED}, {text} holds none{first}", hint="Name the folder that holds the images.")
    split, files, others = taken_split(sorted(files))
    names = [readable(path) for path in files]
    return Listing(
        text,
        names,
        lambda index: _fetched(store, f"{root}/{files[index]}"),
        folder_labels(names, split),
        labels_from=f"the subfolders of {split}" if split else OWN_LABELS,
        left_out=tuple(sorted([*left_out, *others], key=lambda skipped: skipped.name)),
    )


def _store(text: str) -> tuple[Any, str]:
    """The store's client and the folder in it."""
    scheme = text.partition("://")[0]
    if "::" in text:
        raise DatasetError(f"{_EXPECTED}, {text!r} chains several", hint="Name the folder by one URI.")
    import fsspec

    try:
        store, root = fsspec.core.url_to_fs(text)
    except ImportError as error:
        raise DatasetError(
            f"expected the library that reads {scheme}:// URIs; it is not installed",
            hint=f"Run pip install 'singaudit[{EXTRAS[scheme]}]'",
        ) from error
    except Exception as error:  # as above
        raise DatasetError(f"{_EXPECTED}, {text!r} is none: {short(error)}", hint="Check the URI.") from error
    return store, root.rstrip("/")


def _images(entries: dict[str, dict[str, Any]]) -> tuple[list[str], list[Skipped]]:
    """Paths of the images among what was listed, and what is left out for a reason."""
    files: list[str] = []
    left_out: list[Skipped] = []
    for path, entry in entries.items():
        name, size = posixpath.basename(path), entry.get("size")
        if any(part.startswith(".") for part in path.split("/")):
            continue
        if name in (*METADATA_FILES, *TOOL_FILES):
            left_out.append(Skipped(readable(path), "is not read from an object store: --labels FILE reads a copy"))
        elif not name.lower().endswith(SUFFIXES):
            reason = unread(name) or ("has a name that says no format" if looked_into(name) else "")
            left_out += [Skipped(readable(path), reason)] if reason else []
        elif isinstance(size, int) and size > MAX_BYTES:
            left_out.append(Skipped(readable(path), f"is {size} bytes, over the limit of {MAX_BYTES}"))
        else:
            files.append(path)
    return files, left_out


def _fetched(store: Any, path: str) -> bytes:
    """An object's bytes, of those beyond the limit one."""
    try:
        data: bytes = store.cat_file(path, start=0, end=MAX_BYTES + 1)
    except Exception as error:  # each client raises its own kinds
        raise UndecodableError(f"cannot be read from the object store: {short(error)}") from error
    if len(data) > MAX_BYTES:
        raise UndecodableError(f"is over the limit of {MAX_BYTES} bytes")
    return data
