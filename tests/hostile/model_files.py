"""Model files that are damaged, lie, or want to run something."""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
import struct
import zipfile
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
from hostile import Case, typed
from onnx import TensorProto, helper, numpy_helper

LEAKY = Path(str(resources.files("singaudit") / "demo" / "models" / "leaky.onnx"))
DATA = LEAKY.read_bytes()


class Payload:
    """Unpickled, it leaves a file: the proof that something ran."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def inspected(content: bytes | str, name: str = "m.onnx") -> Callable[[Path], Sequence[str]]:
    def make(folder: Path) -> Sequence[str]:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return ["inspect", name]

    return make


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def changed(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], Sequence[str]]:
    """The leaky classifier, changed."""

    def make(folder: Path) -> Sequence[str]:
        model = onnx.load_from_string(DATA)
        change(model)
        (folder / "m.onnx").write_bytes(model.SerializeToString())
        return ["inspect", "m.onnx"]

    return make


def head(model: onnx.ModelProto) -> onnx.TensorProto:
    return min((i for i in model.graph.initializer if len(i.dims) == 2), key=lambda i: min(i.dims))


def with_head(value: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], Sequence[str]]:
    def change(model: onnx.ModelProto) -> None:
        weight = head(model)
        weight.CopyFrom(numpy_helper.from_array(value(numpy_helper.to_array(weight).copy()), weight.name))

    return changed(change)


def external(location: str, prepare: Callable[[Path], None] = lambda folder: None, offset: int = 0):
    """The head's weights in a file that ``location`` names."""

    def change(model: onnx.ModelProto) -> None:
        weight = head(model)
        size = len(numpy_helper.to_array(weight).tobytes())
        weight.ClearField("raw_data")
        weight.ClearField("float_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, "offset": str(offset), "length": str(size)}.items():
            weight.external_data.add(key=key, value=value)

    def make(folder: Path) -> Sequence[str]:
        (folder.parent / f"{folder.name}-outside.bin").write_bytes(b"\0" * 2**16)
        prepare(folder)
        return changed(change)(folder)

    return make


def graph(
    *nodes: onnx.NodeProto, inputs=None, weights=(), opset: int = 17, ir: int = 8
) -> Callable[[Path], Sequence[str]]:
    def make(folder: Path) -> Sequence[str]:
        image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
        made = helper.make_graph(
            list(nodes),
            "g",
            inputs if inputs is not None else [image],
            [helper.make_empty_tensor_value_info("y")],
            list(weights),
        )
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
        (folder / "m.onnx").write_bytes(model.SerializeToString())
        return ["inspect", "m.onnx"]

    return make


def special(kind: str) -> Callable[[Path], Sequence[str]]:
    def make(folder: Path) -> Sequence[str]:
        path = folder / "m.onnx"
        if kind == "folder":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "loop":
            path.symlink_to("m.onnx")
        elif kind == "dangling":
            path.symlink_to("nowhere")
        elif kind == "socket":
            here = os.getcwd()
            os.chdir(folder)  # a socket's path is short
            try:
                with socket.socket(socket.AF_UNIX) as server:
                    server.bind("m.onnx")
            finally:
                os.chdir(here)
        elif kind == "sparse":
            with path.open("wb") as file:
                file.truncate(3 * 2**30)
        return ["inspect", "m.onnx"]

    return make


def node(kind: str, inputs: list[str], **attributes) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, ["y"], **attributes)


def _safetensors(header: bytes, size: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header) if size is None else size) + header + data


def _constant(name: str, values: list[int]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def _text(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING


def _short(model: onnx.ModelProto) -> None:
    weight = head(model)
    weight.raw_data = numpy_helper.to_array(weight).tobytes()[:-4]


def _terabytes(model: onnx.ModelProto) -> None:
    weight = head(model)
    weight.dims[0] = 2**40


def _twice(model: onnx.ModelProto) -> None:
    weight = numpy_helper.to_array(head(model))
    model.graph.initializer.append(numpy_helper.from_array(np.roll(weight, 1, 0), head(model).name))


def _cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input.append(model.graph.node[-1].output[0])


def _deep(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([node("Identity", ["x"])], "g", [], [helper.make_empty_tensor_value_info("y")])
    for _ in range(400):
        step = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([step], "g", [], [helper.make_empty_tensor_value_info("y")])
        if len(inner.SerializeToString()) > 2**20:
            break
    model.graph.node.append(inner.node[0])


PICKLE = pickle.dumps(Payload())
CODE = ("m.pt", "m.onnx")
CASES = [
    Case("no such model", typed("inspect", "none.onnx"), "none.onnx"),
    Case("an empty name", typed("inspect", ""), "empty name"),
    Case("a model name with a zero byte", typed("inspect", "a\0b.onnx"), "a"),
    Case("a model name of 5,000 letters", typed("inspect", "m" * 5000), "m"),
    Case("a model name that moves the cursor", typed("inspect", "\x1b[2J\x1b[31m\u202egnp.onnx"), "onnx"),
    Case("an address", typed("inspect", "https://example.org/m.onnx"), "example.org"),
    Case("a file address", typed("inspect", "file:///etc/passwd"), "passwd"),
    Case("an unknown built-in", typed("inspect", "builtin:../../etc/passwd"), "builtin"),
    Case("a home that nobody has", typed("inspect", "~nobody-of-that-name/m.onnx"), "nobody-of-that-name"),
    Case("an empty file", inspected(b""), "m.onnx"),
    Case("a text file", inspected("this is not a model"), "m.onnx"),
    Case("a pointer of Git LFS", inspected("version https://git-lfs.github.com/spec/v1\noid sha256:ab\n"), "lfs"),
    Case("an HTML page", inspected("<!DOCTYPE html><html><script>alert(1)</script></html>"), "m.onnx"),
    Case("half a model", inspected(DATA[: len(DATA) // 2]), "m.onnx"),
    Case("a model that lacks its last byte", inspected(DATA[:-1]), "m.onnx"),
    Case("random bytes", inspected(np.random.default_rng(0).bytes(5000)), "m.onnx"),
    Case("zeros", inspected(b"\0" * 5000), "m.onnx"),
    Case("a picture", inspected(b"\x89PNG\r\n\x1a\n" + b"\0" * 100), "m.onnx"),
    Case("a zip", inspected(zipped(a=b"x" * 100)), "m.onnx"),
    Case("a zip bomb", inspected(zipped(a=b"\0" * 2**24)), "m.onnx"),
    *[Case(f"a pickle that runs a program, as {name}", inspected(PICKLE, name), name) for name in CODE],
    Case(
        "a checkpoint whose pickle runs a program",
        inspected(zipped(archive__data__pkl=PICKLE, archive__version=b"3\n").replace(b"data/pkl", b"data.pkl"), "m.pt"),
        "m.pt",
    ),
    Case("an empty checkpoint", inspected(b"", "m.pt"), "m.pt"),
    Case("half a zip as a checkpoint", inspected(zipped(archive__data=b"x" * 999)[:60], "m.pt"), "m.pt"),
    Case("safetensors with a header of an exabyte", inspected(_safetensors(b"{}", 2**60), "m.safetensors"), "m.safe"),
    Case(
        "safetensors that point past their end",
        inspected(
            _safetensors(json.dumps({"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}).encode()),
            "m.safetensors",
        ),
        "m.safe",
    ),
    Case(
        "safetensors with overlapping tensors",
        inspected(
            _safetensors(
                json.dumps(
                    {k: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for k in ("a", "b")}
                ).encode(), data=b"\0" * 8
            ),
            "m.safetensors",
        ),
        "m.safe",
    ),
    Case("a Keras file", inspected(b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "m.h5"), "m.h5"),
    Case("a folder in a model's place", special("folder"), "m.onnx"),
    Case("a FIFO in a model's place", special("fifo"), "m.onnx"),
    Case("a socket in a model's place", special("socket"), "m.onnx"),
    Case("a link to itself", special("loop"), "m.onnx"),
    Case("a link to nothing", special("dangling"), "m.onnx"),
    Case("a device in a model's place", typed("inspect", "/dev/zero"), "/dev/zero"),
    Case("three gibibytes of nothing", special("sparse"), "m.onnx"),
    Case("a head with NaN", with_head(lambda w: w * np.nan), "nan"),
    Case("a head with one infinity", with_head(lambda w: np.where(np.arange(w.size).reshape(w.shape) == 3, np.inf, w)),
         ("finite", "inf", "nan")),
    Case("weights shorter than they say", changed(_short), "m.onnx"),
    Case("weights of terabytes", changed(_terabytes), "m.onnx"),
    Case("a weight twice", changed(_twice), ("m.onnx", "twice", "duplicate")),
    Case("a cycle", changed(_cycle), ("m.onnx", "cycle", "circle")),
    Case("graphs in graphs in graphs", changed(_deep), ""),
    Case("an input of texts", changed(_text), ("float32", "m.onnx")),
    Case("weights in the folder above", external("../outside.bin"), ("outside", "folder")),
    Case("weights at an absolute path", external("/etc/passwd"), ("passwd", "folder")),
    Case("weights behind a link out of the folder",
         external("w.bin", lambda f: (f / "w.bin").symlink_to(f.parent / f"{f.name}-outside.bin")), ("w.bin", "link")),
    Case("weights in a file with a second name outside",
         external("w.bin", lambda f: os.link(f.parent / f"{f.name}-outside.bin", f / "w.bin")), ("w.bin", "link")),
    Case("weights in a FIFO", external("w.bin", lambda f: os.mkfifo(f / "w.bin")), "w.bin"),
    Case("weights in a device", external("/dev/zero"), ("zero", "folder")),
    Case("weights in a folder", external("w.bin", lambda f: (f / "w.bin").mkdir()), "w.bin"),
    Case("weights that are missing", external("w.bin"), "w.bin"),
    Case("weights past the file's end",
         external("w.bin", lambda f: (f / "w.bin").write_bytes(b"\0" * 64), offset=32), "w.bin"),
    Case("weights before the file's start",
         external("w.bin", lambda f: (f / "w.bin").write_bytes(b"\0" * 2**16), offset=-8), ("w.bin", "offset")),
    Case("an empty location of weights", external(""), ""),
    Case("a graph without nodes", graph(), ""),
    Case("a graph without a linear layer", graph(node("Relu", ["x"])), ("linear", "head", "logits")),
    Case("an unknown operator", graph(node("Teleport", ["x"])), "teleport"),
    Case("an operator of a foreign domain", graph(node("Run", ["x"], domain="evil.example")), ("run", "evil")),
    Case("an operator set from the future", graph(node("Relu", ["x"]), opset=9999), ("opset", "9999", "m.onnx")),
    Case("a format from the future", graph(node("Relu", ["x"]), ir=9999), ("9999", "ir", "m.onnx")),
    Case("an inner name that moves the cursor", graph(node("Re\x1b[2Jlu\u202e", ["x"])), ""),
    Case("no input", graph(node("Relu", ["x"]), inputs=[]), ("input", "m.onnx")),
    Case("an input of one axis",
         graph(node("Relu", ["x"]), inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, [9])]), "axes"),
    Case("an input of no size",
         graph(node("Relu", ["x"]), inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 0, 0])]),
         ""),
    Case("an input of an exapixel",
         graph(node("Relu", ["x"]), inputs=[helper.make_tensor_value_info("x", 1, [1, 3, 2**30, 2**30])]),
         ("8192", "pixel")),
    Case("terabytes made while it runs",
         graph(node("ConstantOfShape", ["s"]), weights=[_constant("s", [2**20, 2**20, 4])]), ""),
]  # fmt: skip
