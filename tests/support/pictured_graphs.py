"""Small classifiers whose features lie in tensors of every shape."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

M, C = 12, 5


class _Graph:
    def __init__(self, batch: int | str = "batch", nhwc: bool = False) -> None:
        self.random = np.random.default_rng(0)
        self.nodes, self.constants, self.batch, self.nhwc = [], [], batch, nhwc

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(self.random.standard_normal(shape).astype(np.float32), name))
        return name

    def node(self, op: str, *inputs: str, **attributes) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], f"n{len(self.nodes)}", **attributes))
        return name

    def maps(self) -> str:
        x = self.node("Transpose", "x", perm=[0, 3, 1, 2]) if self.nhwc else "x"
        return self.node("Relu", self.node("Conv", x, self.weight(M, 3, 3, 3), self.weight(M)))

    def save(self, path: Path, logits: str) -> Path:
        shape = [self.batch, 8, 8, 3] if self.nhwc else [self.batch, 3, 8, 8]
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "g",
            [value("x", TensorProto.FLOAT, shape)],
            [value(logits, TensorProto.FLOAT, None)],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        onnx.save(model, str(path))
        return path


def pooled(path: Path) -> Path:
    g = _Graph()
    f = g.node("Flatten", g.node("GlobalAveragePool", g.maps()))
    return g.save(path, g.node("Gemm", f, g.weight(C, M), g.weight(C), transB=1))


def pooled_after_the_head(path: Path) -> Path:
    g = _Graph()
    y = g.node("Conv", g.maps(), g.weight(C, M, 1, 1), g.weight(C))
    return g.save(path, g.node("Flatten", g.node("GlobalAveragePool", y)))


def features_by_columns(path: Path) -> Path:
    g = _Graph()
    f = g.node("Transpose", g.node("Flatten", g.node("GlobalAveragePool", g.maps())), perm=[1, 0])
    y = g.node("Gemm", f, g.weight(M, C), g.weight(C), transA=1)
    return g.save(path, y)


def one_image_at_a_time_nhwc(path: Path) -> Path:
    g = _Graph(batch=1, nhwc=True)
    f = g.node("Flatten", g.node("GlobalAveragePool", g.maps()))
    return g.save(path, g.node("Gemm", f, g.weight(C, M), g.weight(C), transB=1))


GRAPHS = (pooled, pooled_after_the_head, features_by_columns, one_image_at_a_time_nhwc)


def taking_pixels(path: Path, model: Path, channels: int = 3) -> Path:
    """An embedded classifier whose preprocessing is inside: 8-bit pixels (n, h, w, channels) as they are in files."""
    made = onnx.load(str(model))
    nodes, old = list(made.graph.node), made.graph.input[0].name
    spread = ["turned"] if channels == 3 else ["turned"] * 3
    before = [
        helper.make_node("Transpose", ["pixels"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Concat", spread, ["three"], axis=1),
        helper.make_node("Cast", ["three"], ["float"], to=1),
        helper.make_node("Mul", ["float", "by"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], [old]),
    ]
    del made.graph.node[:], made.graph.input[:]
    made.graph.node.extend(before + nodes)
    value = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", 64, 64, channels])
    made.graph.input.append(value)
    numbers = (("by", 1 / 127.5), ("one", 1.0))
    made.graph.initializer.extend(numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in numbers)
    stated = next(p for p in made.metadata_props if p.key == "singaudit.preprocess")
    stated.value = "size=64,mode=squash,interpolation=bilinear"
    onnx.save(made, str(path))
    return path
