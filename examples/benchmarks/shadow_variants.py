"""Shadow copies of what tools make of an exported model: half precision, int8, external data, optimised files.

    python examples/benchmarks/shadow_variants.py            # the table; results/shadow_variants.json
    python examples/benchmarks/shadow_variants.py resnet18   # some models only; stores nothing

Values are compared with the better of ONNX Runtime's two modes, as a share of their range; gradients with the native
module's. Quantised weights are another network's: next to the native module's gradient therefore stands that of the
exported float graph with its weights rounded as the int8 file holds them, and the certificate's own check.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from onnxruntime import quantization
from onnxruntime.transformers.float16 import convert_float_to_float16
from shadow import RESULTS, export, machine, native, step
from torch import Tensor, nn

from singaudit.classifier.shadow.certificate import certify
from singaudit.classifier.shadow.module import shadow_copy

MODELS = (
    "resnet18", "mobilenetv3_small_050", "tf_efficientnet_lite0", "vit_tiny_patch16_224", "convnext_atto", "levit_128s",
)  # fmt: skip


class Calibration(quantization.CalibrationDataReader):
    """Batches of the images that are compared on."""

    def __init__(self, x: Tensor) -> None:
        self.batches: Iterator[dict[str, Any]] = iter([{"image": part.numpy()} for part in x.split(2)])

    def get_next(self) -> dict[str, Any] | None:
        """The next batch."""
        return next(self.batches, None)


def quantised(form: str, source: Path, target: Path, x: Tensor) -> None:
    """The int8 file that ONNX Runtime's own tool makes, weights per channel."""
    if form == "dynamic":
        quantization.quantize_dynamic(source, target, per_channel=True)
        return
    quantization.quantize_static(
        source, target, Calibration(x), quant_format=quantization.QuantFormat[form], per_channel=True
    )


def optimised(source: Path, target: Path, level: str) -> None:
    """The file that ONNX Runtime writes after optimising."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def variants(x: Tensor) -> dict[str, Callable[[Path, Path], Any]]:
    """Each form by name: a function from the exported file to the file it becomes."""
    load, save = onnx.load, onnx.save
    return {
        "fp16, float input": lambda a, b: save(convert_float_to_float16(load(a), keep_io_types=True), b),
        "fp16, half input": lambda a, b: save(convert_float_to_float16(load(a)), b),
        "int8 QDQ": lambda a, b: quantised("QDQ", a, b, x),
        "int8 QOperator": lambda a, b: quantised("QOperator", a, b, x),
        "int8 dynamic": lambda a, b: quantised("dynamic", a, b, x),
        "external data": lambda a, b: save(load(a), b, save_as_external_data=True, location="data", size_threshold=0),
        "optimised, basic": lambda a, b: optimised(a, b, "BASIC"),
        "optimised, extended": lambda a, b: optimised(a, b, "EXTENDED"),
    }


def rounded_weights(source: Path, target: Path) -> onnx.ModelProto:
    """The exported float graph with every weight that the int8 file quantises rounded to its grid."""
    proto = onnx.load(source)
    stored = {item.name: numpy_helper.to_array(item) for item in onnx.load(target).graph.initializer}
    for item in proto.graph.initializer:
        whole = stored.get(f"{item.name}_quantized")
        scale, zero = stored.get(f"{item.name}_scale"), stored.get(f"{item.name}_zero_point")
        if whole is None or scale is None or zero is None:
            continue
        # One scale per output channel, wherever the tool put that axis.
        axis = next((place for place, length in enumerate(whole.shape) if length == scale.size), 0)
        shape = [-1 if place == axis and scale.size > 1 else 1 for place in range(whole.ndim)]
        real = (whole.astype(np.float32) - zero.reshape(shape).astype(np.float32)) * scale.reshape(shape)
        # Some tools store the weight of a Gemm transposed.
        real = real if list(real.shape) == list(item.dims) else real.T
        item.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(real), item.name))
    return proto


def cosine(a: Tensor, b: Tensor) -> float:
    """Of two gradients, in float64."""
    a, b = a.double().flatten(), b.double().flatten()
    return float(a @ b / (a.norm() * b.norm()))


def compare(model: nn.Module, source: Path, target: Path, x: Tensor) -> dict[str, Any]:
    """One variant's row."""
    copy = shadow_copy(target)
    _, gradient = step(copy, x)
    expected = step(model, x)[1]
    inputs = x.half() if copy.plan.inputs[0].element == onnx.TensorProto.FLOAT16 else x
    found = certify(target, copy, inputs.numpy())
    row = {
        "difference": found.max_logit_difference, "certificate": found.status, "certificate_cosine":
        found.gradient_cosine, "native_cosine": cosine(gradient, expected), "reason": found.reason,
    }  # fmt: skip
    if found.precision == "int8":
        row["rounded_weights_cosine"] = cosine(gradient, step(shadow_copy(rounded_weights(source, target)), x)[1])
    return row


def main() -> None:
    """Make every variant of every model and compare it."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    rows = []
    for name in sys.argv[1:] or MODELS:
        model, x = native(name)
        with tempfile.TemporaryDirectory() as work:
            source = Path(work) / "float.onnx"
            onnx.save(export(model, x, "torchscript", dynamic=True), source)
            for form, make in variants(x).items():
                target = Path(work) / f"{form.replace(', ', '_').replace(' ', '_')}.onnx"
                row: dict[str, Any] = {"model": name, "form": form}
                try:
                    make(source, target)
                except Exception as error:  # whatever the tool raises is a finding about it, not about the copy
                    row["tool_failed"] = f"{type(error).__name__}: {error}"[:200]
                else:
                    row |= compare(model, source, target, x)
                rows.append(row)
                shown = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in row.items() if v}
                print("  ".join(f"{k}={v}" for k, v in shown.items()), flush=True)
    if not sys.argv[1:]:
        (RESULTS / "shadow_variants.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
