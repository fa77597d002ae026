"""Containers of images that are not read, known by name, and what makes a folder of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_TABLE = "Write a table of it: CSV with the columns path and label."
_UNPACK = "Unpack it and give the folder."
_ARRAYS = "Save its images as PNG in one folder a class, or as Parquet with the columns image and label."
_KINDS: tuple[tuple[str, str, str], ...] = (
    (r"\.(zip|rar|7z)$", "is an archive", _UNPACK),
    (r"\.(tar\.(bz2|xz|zst)|tbz2|txz)$", "is a compressed archive", "Unpack it and give the .tar or the folder."),
    (r"\.tfrecords?(-\d+-of-\d+)?$", "holds records of TensorFlow", _ARRAYS),
    (r"\.(rec|beton|lmdb|mdb)$", "holds records of a training library", _ARRAYS),
    (r"\.(npz|npy|h5|hdf5|mat)$", "holds arrays, of which nothing says how they become pixels", _ARRAYS),
    (r"(-ubyte|-ubyte\.gz)$", "is a file of the MNIST family", _ARRAYS),
    (r"(\.(pkl|pickle)|/(data|test)_batch(_\d)?)$", "is a pickle, which is never loaded", _ARRAYS),
    (
        r"\.arrow$|(^|/)(dataset_info|dataset_dict|state)\.json$",
        "is a data set saved by the datasets library",
        "Write it anew: dataset.to_parquet('images.parquet'), and give that file.",
    ),
    (
        r"\.manifest$",
        "is a manifest of SageMaker, which names addresses; nothing is fetched",
        f"Download them. {_TABLE}",
    ),
    (r"\.json$", "is JSON of a label tool (COCO, Label Studio, CVAT, FiftyOne), none of which is read", _TABLE),
    (r"\.xml$", "holds annotations", _TABLE),
)
"""By the name of a file: what it is, one clause, and what to do."""


def told(names: Iterable[str], beside: bool = False) -> tuple[str, str, str] | None:
    """(name, what it is, what to do) of the first of these files that is such a container; None without one.

    ``beside``: they lie in a folder, where documents of JSON and XML may be anything.
    """
    for name in names:
        if beside and name.lower().endswith((".json", ".xml")) and not name.lower().startswith("dataset_"):
            continue
        for pattern, what, hint in _KINDS:
            if re.search(pattern, f"/{name.lower()}"):
                return name, what, hint
    return None
