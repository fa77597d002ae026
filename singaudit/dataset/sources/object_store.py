"""Images in an object store, below a URI: read through fsspec, with the credentials that its client finds by itself."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import posixpath
import time
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
_HINTS = {
    "azure": "Set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and what its client signs in with, "
    "such as AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_ANON=true for a public container."
}
"""Extra -> what its client may lack where it cannot be made."""
_MAX_OBJECTS = 20_000_000
_PATIENCE = 60.0
"""Seconds for the answer to something small; clients try again for up to ten minutes."""
_READING = 300.0
"""Seconds for one object."""
_GIVING_UP = 600.0
"""Seconds that reading in vain may take, summed over threads, with no object read meanwhile."""
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
        entries = _listed(store, root)
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
    reader = _Reader(text, store)
    return Listing(
        text,
        names,
        lambda index: reader.read(f"{root}/{files[index]}"),
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

    # gcsfs would ask for the kind of the bucket before every read, over gRPC, and without credentials never learn it.
    # Who has zonal buckets, which are read over gRPC alone, sets the variable.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    for client in ("gcsfs", "google", "azure"):
        # They log what they raise anyway, with tracebacks, and Python prints that where nobody listens.
        logging.getLogger(client).addHandler(logging.NullHandler())
    try:
        store, root = fsspec.core.url_to_fs(text)
    except ImportError as error:
        raise DatasetError(
            f"expected the library that reads {scheme}:// URIs; it is not installed",
            hint=f"Run pip install 'singaudit[{EXTRAS[scheme]}]'",
        ) from error
    except Exception as error:  # as above
        hint = _HINTS.get(EXTRAS[scheme], "Check the URI.")
        raise DatasetError(f"{_EXPECTED}, {text!r} is none: {short(error)}", hint=hint) from error
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


def _listed(store: Any, root: str) -> dict[str, dict[str, Any]]:
    """What lies below ``root`` by its path, with its size. Raises what the client raises, and ``TimeoutError``.

    A listing may take long, so while it does the store is asked something small: one that is dead does not answer.
    """
    # Never cancelled: adlfs takes that for an answer and goes on, and what it fails with then is printed.
    listing = asyncio.run_coroutine_threadsafe(store._find(root, detail=True), store.loop)
    while not concurrent.futures.wait([listing], _PATIENCE).done:
        _asked(store, root)
    found = listing.result()
    # Where an object has this very name adlfs answers a list, of its path.
    return found if isinstance(found, dict) else {}


def _asked(store: Any, root: str) -> None:
    """Raises ``TimeoutError`` where the store says nothing at all."""
    try:
        store.info(root, timeout=_PATIENCE)
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {_PATIENCE:.0f} seconds") from error
    except Exception:  # what is refused or missing is an answer
        pass


class _Reader:
    """Reads objects, and gives up where for long none arrives: thousands of images would each wait in vain."""

    def __init__(self, text: str, store: Any) -> None:
        self._text = text
        self._store = store
        self._failing: float | None = None
        """Since when no object has arrived; None where the last one did."""

    def read(self, path: str) -> bytes:
        """An object's bytes, of those beyond the limit one.

        Raises ``UndecodableError``, and ``MachineError`` where the store is dead.
        """
        began = time.monotonic()
        try:
            data: bytes = self._store.cat_file(path, start=0, end=MAX_BYTES + 1, timeout=_READING)
        except Exception as error:  # each client raises its own kinds
            since = self._failing = self._failing if self._failing is not None else began
            said = short(error) or f"no answer within {_READING:.0f} seconds"
            if time.monotonic() - since > _GIVING_UP:
                raise MachineError(
                    f"{self._text} cannot be read any more: {said}",
                    hint="Check the network and the store, and run the command again: what was computed is kept.",
                ) from error
            raise UndecodableError(f"cannot be read from the object store: {said}") from error
        self._failing = None
        if len(data) > MAX_BYTES:
            raise UndecodableError(f"is over the limit of {MAX_BYTES} bytes")
        return data
