"""Small classifiers built node by node, each beside the head it must be read as."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

M, C = 12, 5
"""Features and classes of the classifiers built here."""


@dataclass
class Build:
    """A graph under construction, with an image input ``x``."""

    seed: int = 0
    size: int = 8
    batch: int | str = "batch"
    dtype: type = np.float32
    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)
    opset: int = 17
    contrib: bool = False
    channels: int = 3
    nhwc: bool = False
    uint8: bool = False

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def const(self, array: Any, name: str = "") -> str:
        name = name or f"w{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, *shape: int) -> np.ndarray:
        return self.random.standard_normal(shape).astype(self.dtype)

    def node(self, op: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        number = len(self.nodes)
        names = [f"t{number}" if index == 0 else f"t{number}_{index}" for index in range(outputs)]
        self.contrib |= bool(domain)
        self.nodes.append(helper.make_node(op, list(inputs), names, f"n{number}", domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def maps(self, m: int = M) -> str:
        """Feature maps (N, m, 6, 6) after a ReLU."""
        x = "x"
        if self.uint8:
            x = self.node("Cast", x, to=TensorProto.FLOAT)
            x = self.node("Mul", x, self.const(np.float32(1 / 128)))
        if self.nhwc:
            x = self.node("Transpose", x, perm=[0, 3, 1, 2])
        kernel = self.weight(m, self.channels, 3, 3)
        y = self.node("Conv", x, self.const(kernel), self.const(self.weight(m)))
        return self.node("Relu", y)

    def features(self, m: int = M) -> str:
        """Features (N, m)."""
        return self.node("Flatten", self.node("GlobalAveragePool", self.maps(m)))

    def gemm(self, f: str, m: int = M, c: int = C) -> tuple[str, np.ndarray, np.ndarray]:
        w, b = self.weight(c, m), self.weight(c)
        return self.node("Gemm", f, self.const(w), self.const(b), transB=1), w, b

    def model(self, *outputs: str, types: dict[str, int] | None = None, meta: dict[str, str] | None = None) -> Any:
        element = TensorProto.UINT8 if self.uint8 else helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        shape: list[Any] = [self.batch, self.channels, self.size, self.size]
        if self.nhwc:
            shape = [self.batch, self.size, self.size, self.channels]
        inputs = [helper.make_tensor_value_info("x", element, shape)]
        default = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        values = [helper.make_tensor_value_info(name, (types or {}).get(name, default), None) for name in outputs]
        graph = helper.make_graph(self.nodes, "g", inputs, values, self.initializers)
        imports = [helper.make_opsetid("", self.opset)]
        if self.contrib:
            imports.append(helper.make_opsetid("com.microsoft", 1))
        model = helper.make_model(graph, opset_imports=imports, producer_name="test")
        model.ir_version = 8
        helper.set_model_props(model, meta or {})
        return model

    def save(self, path: Path, *outputs: str, **options: Any) -> Path:
        onnx.save(self.model(*outputs, **options), str(path))
        return path


def quantise_rows(w: np.ndarray, axis: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 of a weight and its scale, for the whole tensor or along one axis."""
    others = None if axis is None else tuple(place for place in range(w.ndim) if place != axis)
    scale = np.abs(w).max(axis=others, keepdims=axis is not None) / 127
    return np.clip(np.round(w / scale), -127, 127).astype(np.int8), np.squeeze(scale).astype(np.float32)


def endless_loop(g: Build, value: str, condition: str = "") -> str:
    """``value`` after a loop that never ends where the condition, true if none is given, holds: no trip count."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["keep_in"], ["keep_out"]), helper.make_node("Abs", ["v_in"], ["v_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("keep_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("keep_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, None),
        ],
    )
    return g.node("Loop", "", condition or g.const(np.bool_(True)), value, body=body)
