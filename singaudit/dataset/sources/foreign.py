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
    (r"\.(rec|beton|lmdb|mdb|mds|mds\.zstd)$|/chunk-\d+-\d+\.bin$", "holds records of a training library", _ARRAYS),
    (r"\.(feather|orc|avro|lance)$|/_versions$", "is a table of another format than Parquet", _ARRAYS),
    (r"\.(xlsx?|xlsm|ods)$", "is a spreadsheet", "Save it as CSV with the columns path and label."),
    (r"\.(bag|mcap|db3)$", "is a recording of ROS", "Take the images out of it first."),
    (r"\.(sqfs|squashfs|iso|dmg)$", "is the image of a disk", "Mount it and give the folder."),
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
    (r"/labels\.json$", "may be FiftyOne's, which is read with its images", f"Give the folder that holds it. {_TABLE}"),
    (r"/annotations\.xml$", "may be CVAT's, which is read with its images", f"Give the folder that holds it. {_TABLE}"),
    (r"\.json$", "is JSON of a label tool (COCO, Label Studio), of which none is read", _TABLE),
    (r"\.xml$", "holds annotations of another tool than CVAT", _TABLE),
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
