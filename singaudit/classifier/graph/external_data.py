"""Weights beside an ONNX file: plain files in its folder, or where the hub's own cache keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from singaudit.classifier.files.folder import blobs
from singaudit.classifier.graph.lookup import subgraphs
from singaudit.errors import ModelError

if TYPE_CHECKING:
    import onnx


def settle(model: onnx.ModelProto, folder: Path) -> Path:
    """The folder that holds every file of the model's external data as a plain file: ``folder``, the model's own.

    In the hub's cache such a file is a link to ``blobs/`` of the same repository, which neither ONNX nor ONNX Runtime
    follows: ``model`` is then told the name that the file has there, and that folder is returned. ModelError for a
    file outside, any other link, and one that is missing or too short.
    """
    files = {location: _plain(folder, location, end) for location, end in sorted(_ends(model).items())}
    moved = {location: path for location, path in files.items() if path.parent != (folder / location).parent}
    if not moved:
        return folder
    if len(moved) < len(files):
        raise ModelError(
            f"of the model's external data {min(moved)!r} is a link and {min(files.keys() - moved)!r} is not",
            hint="Copy the model with its data out of the hub's cache, links followed (cp -rL)",
        )
    for tensor in _external(model):
        for item in tensor.external_data:
            if item.key == "location":
                item.value = moved[item.value].name
    return next(iter(moved.values())).parent


def external_files(model: onnx.ModelProto, folder: Path) -> list[Path]:
    """Files with the external data of a model whose ``folder`` is settled, sorted."""
    return [folder / location for location in sorted(_ends(model))]


def relocate(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Tell the model other names of its external data files: old location to new one."""
    for tensor in _external(model):
        for item in tensor.external_data:
            if item.key == "location":
                item.value = names[item.value]


def nodes(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, int]]:
    """All nodes, those of functions and bodies included, with their depth."""
    stack: list[tuple[onnx.NodeProto, int]] = [(node, 1) for node in model.graph.node]
    stack += [(node, 1) for function in model.functions for node in function.node]
    while stack:
        node, depth = stack.pop()
        yield node, depth
        stack += [(inner, depth + 1) for body in subgraphs(node) for inner in body.node]


def _external(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    return (tensor for tensor in _tensors(model) if tensor.data_location == 1)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from model.graph.initializer
    for sparse in model.graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node, _ in nodes(model):
        for item in node.attribute:
            if item.HasField("t"):
                yield item.t
            yield from item.tensors
            for body in (item.g, *item.graphs):
                yield from body.initializer


def _ends(model: onnx.ModelProto) -> dict[str, int]:
    """Every location that the model names, with the bytes it has to hold."""
    ends: dict[str, int] = {}
    for tensor in _external(model):
        entries = {item.key: item.value for item in tensor.external_data}
        location = entries.get("location", "")
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
        except ValueError:
            offset = length = -1
        if min(offset, length) < 0:
            raise ModelError(
                f"the external data of {tensor.name!r} has no valid offset and length", hint="Export the model again"
            )
        ends[location] = max(ends.get(location, 0), offset + length)
    return ends


def _is_name(location: str) -> bool:
    """Whether a file could be named so here."""
    try:
        Path(location).lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return True
    except (OSError, ValueError):  # too long, a zero byte, characters that no file name has
        return False
    return bool(location)


def _plain(folder: Path, location: str, end: int) -> Path:
    """The plain file that a location leads to. Raises ModelError."""
    path = folder / location
    inside = _is_name(location) and not Path(location).is_absolute() and ".." not in Path(location).parts
    if inside and path.is_symlink() and path.resolve().parent == blobs(folder.resolve()):
        path = path.resolve()
    elif not inside or path.is_symlink() or folder.resolve() not in path.resolve().parents:
        raise ModelError(
            f"the model's external data {location!r} lies outside its folder or is a link",
            hint="Keep external data as plain files beside the .onnx file",
        )
    if not path.is_file():
        raise ModelError(
            f"the model's external data file {location!r} is missing", hint=f"Copy it to {folder} beside the model"
        )
    if path.stat().st_nlink > 1:
        raise ModelError(
            f"the model's external data file {location!r} has a second name, a hard link, that may lie outside",
            hint="Keep external data as plain files beside the .onnx file; cp makes a file of its own",
        )
    if path.stat().st_size < end:
        raise ModelError(
            f"the model's external data file {location!r} is cut short: {path.stat().st_size:,} of {end:,} bytes",
            hint="Copy it again",
        )
    return path
