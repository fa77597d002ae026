"""Image data sets of the model hub, ``hf:ORG/NAME[:SPLIT]``, through the datasets library."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from singaudit.dataset.columns import label_column, named_column
from singaudit.dataset.decode import UndecodableError, read_regular_file
from singaudit.dataset.sources.listing import Listing
from singaudit.errors import DatasetError, SingauditError

_SPEC = re.compile(
    r"hf:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?(?::(?:(?P<config>[\w.-]+)/)?(?P<split>[\w.+%\[\]:-]+))?"
)


def open_hub_dataset(text: str, label: str | None = None) -> Listing:
    """Images of ``hf:ORG/NAME[@REVISION][:[CONFIG/]SPLIT]``, rows in their order.

    Downloaded once into the datasets library's own cache; a repository's own code is never run (the library has
    dropped it). Images are decoded here, not by the library. ClassLabel columns give names; the label is the column
    label (``label``: of another name), or the only ClassLabel. Raises ``DatasetError``, with the splits to choose from
    where none was named.
    """
    match = _SPEC.fullmatch(text)
    if match is None or ".." in match["name"]:
        raise DatasetError(
            f"expected hf:ORG/NAME, hf:ORG/NAME:SPLIT or hf:ORG/NAME:CONFIG/SPLIT, got {text[:100]!r}",
            hint="Copy the name from the data set's page, e.g. hf:ylecun/mnist:test.",
        )
    table = _load(text, match["name"], match["revision"], match["config"], match["split"])
    return _listing(text, table, label)


def _load(text: str, name: str, revision: str | None, config: str | None, split: str | None) -> Any:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import datasets
        from huggingface_hub.utils import logging as hub_logging
    except ImportError as error:
        raise DatasetError(
            "expected the datasets library, which reads hf: sources; it is not installed",
            hint="Run pip install 'singaudit[datasets]'",
        ) from error
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    try:
        if split is None:
            splits = datasets.get_dataset_split_names(name, config, revision=revision)
            if len(splits) != 1:
                raise DatasetError(
                    f"expected a split of {name}, which has {', '.join(splits)[:200]}",
                    hint=f"Name one: {text}:{'test' if 'test' in splits else splits[0]}; images that the classifier "
                    "was not trained on tell more.",
                )
            split = splits[0]
        return datasets.load_dataset(name, config, split=split, revision=revision)
    except SingauditError:
        raise
    except Exception as error:  # the library and the hub's client raise many kinds for one fact
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DatasetError(
            f"expected an image data set of the hub at {text}, but it could not be loaded: {reason}",
            hint="Check the name, the split and the connection; private and gated ones need a token (HF_TOKEN). "
            "Without internet give a folder, .tar or .parquet files.",
        ) from error


def _listing(text: str, table: Any, wanted: str | None = None) -> Listing:
    from datasets import ClassLabel, Image, Value

    features = table.features
    images = [name for name, feature in features.items() if _holds_images(feature)]
    column = named_column(images, ("image", "img")) or (images[0] if len(images) == 1 else None)
    if column is None or not len(table):
        raise DatasetError(
            f"expected one image column and some rows in {text}, found the columns {', '.join(features)[:200]} and "
            f"{len(table)} rows",
            hint="Choose a data set for image classification, or save the images as a folder.",
        )
    raw = table.cast_column(column, Image(decode=False)) if isinstance(features[column], Image) else table
    classes = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    plain = [n for n, f in features.items() if isinstance(f, Value) and (f.dtype == "string" or "int" in f.dtype)]
    columns = {name: _texts(table, name) for name in [*classes, *plain]}
    label = label_column(columns, wanted, text) or (classes[0] if len(classes) == 1 else None)
    labels = tuple(cell or None for cell in columns.pop(label)) if label else None
    lock = threading.Lock()

    def fetch(index: int) -> bytes:
        with lock:
            cell = raw[index][column]
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        return data if isinstance(data, bytes) else _cached(cell.get("path") if isinstance(cell, dict) else None)

    return Listing(text, [f"{i:08d}" for i in range(len(table))], fetch, labels, "column", columns)


def _holds_images(feature: Any) -> bool:
    """An Image, or the bytes that a file without the library's own description stores for one."""
    from datasets import Image, Value

    if isinstance(feature, dict):
        feature = feature.get("bytes")
    return isinstance(feature, Image) or (isinstance(feature, Value) and "binary" in feature.dtype)


def _texts(table: Any, name: str) -> list[str]:
    from datasets import ClassLabel

    feature = table.features[name]
    cells: Sequence[Any] = table.with_format(None)[name][:]
    if isinstance(feature, ClassLabel):
        names = feature.names or []
        return [names[c] if c is not None and 0 <= c < len(names) else "" for c in cells]
    return ["" if c is None else str(c).strip() for c in cells]


def _cached(path: Any) -> bytes:
    """A file that a row names: only in the caches that the library itself downloads to."""
    from datasets import config
    from huggingface_hub import constants

    roots = [Path(str(root)).resolve() for root in (config.HF_DATASETS_CACHE, constants.HF_HUB_CACHE)]
    if not isinstance(path, str) or not any(root in Path(path).resolve().parents for root in roots):
        raise UndecodableError("has no bytes, and a path that was not downloaded")
    return read_regular_file(Path(path))
