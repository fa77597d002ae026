"""What a model file must be before anything in it is run: readable, self-contained, of bounded size."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from singaudit.classifier.files.taken import take
from singaudit.classifier.graph.apart import LARGE, set_apart
from singaudit.classifier.graph.external_data import external_files, nodes, settle
from singaudit.classifier.graph.lookup import attributes, free_empty_axes, opset_imports, subgraphs
from singaudit.classifier.graph.spelled_out import spell_out
from singaudit.errors import ModelError

if TYPE_CHECKING:
    import onnx

Parsed: TypeAlias = "tuple[onnx.ModelProto, bytes, Path]"
"""What ``parse`` returns."""

_LARGEST_FILE = 2 << 30
"""Bytes; a protobuf message cannot be larger."""
_LFS = b"version https://git-lfs.github.com/spec/"
_MOST_NODES = 200_000
_MOST_FUNCTIONS = 2_000
_MOST_OUTPUTS = 256
_DEEPEST = 32
_MOST_STEPS = 100_000
"""Iterations a Loop may state."""
_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)


def check_file(path: Path) -> None:
    """ModelError unless ``path`` is a readable regular file that may hold an ONNX model."""
    try:
        state = path.stat()
    except OSError as error:
        raise ModelError(
            f"no such model file: {path}" if isinstance(error, FileNotFoundError) else f"cannot read {path}: {error}",
            hint="Give the path of an .onnx file",
        ) from error
    if not stat.S_ISREG(state.st_mode):
        what = "a folder" if stat.S_ISDIR(state.st_mode) else "not a regular file"
        raise ModelError(f"expected an ONNX file, {path} is {what}", hint="Give the path of an .onnx file")
    if state.st_size == 0:
        raise ModelError(f"{path} is empty; expected an ONNX model", hint="Export or download it again")
    if state.st_size > _LARGEST_FILE:
        raise ModelError(
            f"{path} has {state.st_size:,} bytes; an ONNX file cannot exceed 2 GiB",
            hint="Export it with external data (onnx.save_model(..., save_as_external_data=True))",
        )
    if not os.access(path, os.R_OK):
        raise ModelError(f"cannot read {path}: permission denied", hint="Make the file readable")


def take_model(path: Path, folder: Path) -> tuple[Path, str, Parsed]:
    """A copy of a model and its external data in ``folder``, a private one; the sha256 of what was copied; and the copy
    as ``parse`` reads it. Of a large file, what is read and run is a second copy, with its weights apart.

    In the copy, not in the digest, a linear classifier that is one node is written out in standard operators.

    The digest is over the model file and then its external data files, by name. Raises as ``parse``, and MachineError
    where the copy does not fit on the disk.
    """
    check_file(path)
    copy, digest = folder / path.name, hashlib.sha256()
    take(path, copy, digest)
    if copy.stat().st_size >= LARGE:
        apart = set_apart(copy, folder / "apart")
        if apart is not None:
            parsed = parse(apart, path, apart.parent)
            if not spell_out(parsed[0]):
                return apart, digest.hexdigest(), parsed
        shutil.rmtree(folder / "apart")  # what was written before it showed that this is of no use
    model, data, beside = parse(copy, path)
    for source in external_files(model, beside):
        take(source, folder / source.relative_to(beside), digest)
    spelled = spell_out(model)
    if spelled:
        data = model.SerializeToString()
    if spelled or beside != path.parent:  # the hub's cache keeps it under other names
        copy.write_bytes(data)
    return copy, digest.hexdigest(), (model, data, settle(model, folder))


def parse(path: Path, original: Path | None = None, folder: Path | None = None) -> Parsed:
    """The model without its external data, local functions inlined; its bytes; and the folder of its external data.

    ``original``: the file of which ``path`` is a copy, beside which the external data lies; ``folder``: where it lies
    otherwise.
    ModelError when it is no model. Static limits hold: number of nodes and functions, nesting, loops, no random draws,
    external data within the model's folder, or where the hub's cache keeps it, and present in full.
    """
    import onnx

    check_file(path)
    shown = original or path
    model = onnx.ModelProto()
    data = b""
    try:
        data = path.read_bytes()
        model.ParseFromString(data)
    except Exception as error:  # protobuf's own classes differ between its implementations
        if data.startswith(_LFS):
            raise ModelError(
                f"{shown} is a pointer of Git LFS, not the model itself", hint="Run git lfs pull"
            ) from error
        raise ModelError(
            f"{shown} is not an ONNX model or is cut short: {type(error).__name__}",
            hint="Give an .onnx file; download or export it again if it is one",
        ) from error
    if not model.graph.node or not model.graph.output:
        raise ModelError(
            f"{shown} holds no ONNX graph (no nodes or no outputs)", hint="Give an .onnx file of a classifier"
        )
    _check_size(model)
    if model.functions:
        from onnx import inliner

        model = inliner.inline_local_functions(model)
        data = model.SerializeToString()
    beside = folder or shown.parent
    folder = settle(model, beside)
    if free_empty_axes(model) or folder != beside:
        data = model.SerializeToString()
    return model, data, folder


def _check_size(model: onnx.ModelProto) -> None:
    if len(model.graph.output) > _MOST_OUTPUTS:
        raise ModelError(f"the model has {len(model.graph.output)} outputs; the limit is {_MOST_OUTPUTS}")
    if len(model.functions) > _MOST_FUNCTIONS:
        raise ModelError(f"the model holds {len(model.functions)} local functions; the limit is {_MOST_FUNCTIONS}")
    made = Counter(item.name for item in model.graph.initializer)
    made.update(name for node in model.graph.node for name in node.output if name)
    twice = next((name for name, count in made.items() if count > 1), None)
    if twice is not None:
        raise ModelError(
            f"the model makes the tensor {twice!r} more than once; which of them counts, no standard says",
            hint="Export it again; onnx.checker.check_model names what else is wrong",
        )
    versions = opset_imports(model)
    for count, (node, depth) in enumerate(nodes(model), start=1):
        if count > _MOST_NODES:
            raise ModelError(f"the model holds more than {_MOST_NODES} nodes; classifiers do not")
        if depth > _DEEPEST:
            raise ModelError(f"the model nests its graphs deeper than {_DEEPEST} levels; classifiers do not")
        _check_arity(node, versions)
        if node.op_type in _RANDOM:
            raise ModelError(
                f"the model draws random numbers ({node.op_type}); none of its results could be repeated",
                hint="Export it in evaluation mode",
            )
    _check_functions(model)
    _check_constants(model)


def _check_arity(node: onnx.NodeProto, versions: Mapping[str, int]) -> None:
    """Enough inputs and outputs for the node's operator, so that whatever reads the graph may index them."""
    from onnx import defs

    domain = "" if node.domain == "ai.onnx" else node.domain
    try:
        schema = defs.get_schema(node.op_type, versions.get(domain, 1), domain)
    except defs.SchemaError:  # ONNX Runtime's own or the model's functions
        inputs, outputs = 0 if domain else 1, 1
    else:
        inputs, outputs = schema.min_input, schema.min_output
    if len(node.input) < inputs or len(node.output) < outputs:
        raise ModelError(
            f"the node {node.name or node.op_type!r} ({node.op_type}) has {len(node.input)} inputs and "
            f"{len(node.output)} outputs; expected at least {inputs} and {outputs}",
            hint="Check the file with onnx.checker.check_model",
        )


def _check_functions(model: onnx.ModelProto) -> None:
    """Refuses recursion and functions that grow beyond the node limit once inlined."""
    functions = {(item.domain, item.name, getattr(item, "overload", "")): item for item in model.functions}
    sizes: dict[tuple[str, str, str], int] = {}

    def key(node: onnx.NodeProto) -> tuple[str, str, str]:
        return node.domain, node.op_type, getattr(node, "overload", "")

    def calls(nodes: list[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
        stack = list(nodes)
        while stack:
            node = stack.pop()
            yield node
            stack += [inner for body in subgraphs(node) for inner in body.node]

    waiting = dict(functions)
    while waiting:
        ready = [
            name
            for name, item in waiting.items()
            if all(key(node) not in functions or key(node) in sizes for node in calls(list(item.node)))
        ]
        if not ready:
            raise ModelError("the model's local functions call one another in a circle")
        if len(sizes) // max(1, len(ready)) > _MOST_FUNCTIONS:
            raise ModelError("the model's local functions are nested too deeply")
        for name in ready:
            item = waiting.pop(name)
            sizes[name] = sum(sizes.get(key(node), 1) for node in calls(list(item.node)))
            if sizes[name] > _MOST_NODES:
                raise ModelError(f"the model's local functions unfold to more than {_MOST_NODES} nodes")
    if sum(sizes.get(key(node), 1) for node in calls(list(model.graph.node))) > _MOST_NODES:
        raise ModelError(f"the model's local functions unfold to more than {_MOST_NODES} nodes")


def _check_constants(model: onnx.ModelProto) -> None:
    """Refuses loops that state absurdly many steps, and Dropout that is not switched off."""
    from onnx import numpy_helper

    constants = {item.name: item for item in model.graph.initializer}
    for node, _ in nodes(model):
        if node.op_type == "Constant" and "value" in (values := attributes(node)):
            constants[node.output[0]] = values["value"]
    for node, _ in nodes(model):
        if node.op_type == "Loop" and node.input and node.input[0] in constants:
            steps = numpy_helper.to_array(constants[node.input[0]])
            if steps.size and int(steps.reshape(-1)[0]) > _MOST_STEPS:
                raise ModelError(f"the model holds a loop of {int(steps.reshape(-1)[0]):,} steps; classifiers do not")
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
            switch = constants.get(node.input[2])
            if switch is None or np.any(numpy_helper.to_array(switch)):
                raise ModelError(
                    "the model draws random numbers (Dropout in training mode); none of its results could be repeated",
                    hint="Export it in evaluation mode",
                )


def sha256_of(path: Path, others: list[Path]) -> str:
    """Hex digest over the model file and then its external data files, by name."""
    digest = hashlib.sha256()
    for item in (path, *others):
        with item.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
