"""Shadow copies of what tools make of an exported model: half precision, int8, external data, optimised files.

    python examples/benchmarks/shadow_variants.py --photos DIR --lite0 FILE.pth   # results/shadow_variants.json
    python examples/benchmarks/shadow_variants.py resnet18 --photos DIR           # some models only; stores nothing

Images are photographs (noise without ``--photos``). int8 files are calibrated on them, those compared on included: what
a file clips beyond the range of its calibration is clipped, and the native module does not clip. Batch statistics of
random networks are of the same images. ``--lite0``: published ImageNet weights of EfficientNet-Lite0, for rows with
real weights.

Values are compared with the better of ONNX Runtime's two modes, as a share of their range. Gradients are compared with
the native module's, and with those of the native module with the weights that the file holds (``file_weights.py``):
rounding the weights alone makes another network. ``moved_cosine`` tells how much that matters for a network: it is
between the native module's own gradients at the images and at the images plus noise of a hundredth of their standard
deviation.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from file_weights import with_weights_of
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from PIL import Image
from shadow import BATCH, RESULTS, export, machine, native, step
from torch import Tensor, nn

from singaudit.classifier.shadow.certificate import certify
from singaudit.classifier.shadow.module import shadow_copy

MODELS = (
    "resnet18", "mobilenetv3_small_050", "tf_efficientnet_lite0", "vit_tiny_patch16_224", "convnext_atto", "levit_128s",
    "regnetx_002", "ghostnet_100", "mixer_s32_224",
)  # fmt: skip


QUANTISED = ("Conv", "Gemm", "MatMul")
"""What int8 files compute in int8. The tool's default also quantises the arithmetic on shapes of some exports."""
CALIBRATION = 32


class Calibration(quantization.CalibrationDataReader):
    """Batches of images."""

    def __init__(self, x: Tensor) -> None:
        self.batches: Iterator[dict[str, Any]] = iter([{"image": part.numpy()} for part in x.split(BATCH)])

    def get_next(self) -> dict[str, Any] | None:
        """The next batch."""
        return next(self.batches, None)


def photographs(folder: Path | None, count: int, size: int) -> Tensor:
    """Centre crops, values in [-1, 1], evenly spread over a folder's files; standard normal noise without one."""
    if folder is None:
        return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(2))
    files = sorted(folder.glob("*.jpg"))
    rows = []
    for path in files[:: len(files) // count][:count]:
        image = Image.open(path).convert("RGB")
        scale = size / 0.875 / min(image.size)
        image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
        left, top = (image.width - size) // 2, (image.height - size) // 2
        rows.append((np.asarray(image.crop((left, top, left + size, top + size)), np.float32) - 127) / 128)
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).contiguous()


def fitted(model: nn.Module, x: Tensor) -> nn.Module:
    """The module with batch statistics of these images, where they are over pixels as well.

    Over images alone random features hardly vary, and what is divided by that becomes noise.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
            module.train()
    with torch.no_grad():
        for part in x.split(BATCH * 2):
            model(part)
    return model.eval()


def published(path: Path) -> nn.Module:
    """EfficientNet-Lite0 with published weights, whose names differ from timm's and whose order does not."""
    import timm

    state = torch.load(path, map_location="cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0").eval().requires_grad_(False)
    own = [name for name in model.state_dict() if "num_batches" not in name]
    theirs = [value for name, value in state.items() if "num_batches" not in name]
    model.load_state_dict(dict(zip(own, theirs, strict=True)), strict=False)
    return model


def quantised(form: str, source: Path, target: Path, x: Tensor, per_channel: bool = True) -> None:
    """The int8 file that ONNX Runtime's own tool makes."""
    kinds = list(QUANTISED)
    if form == "dynamic":
        quantization.quantize_dynamic(source, target, per_channel=per_channel)
        return
    kind = quantization.QuantFormat[form]
    quantization.quantize_static(
        source, target, Calibration(x), quant_format=kind, per_channel=per_channel, op_types_to_quantize=kinds
    )


def optimised(source: Path, target: Path, level: str) -> None:
    """The file that ONNX Runtime writes after optimising."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def variants(x: Tensor) -> dict[str, Callable[[Path, Path], Any]]:
    """Each form by name: a function from the exported file to the file it becomes; x calibrates."""
    load, save = onnx.load, onnx.save
    return {
        "fp16, float input": lambda a, b: save(convert_float_to_float16(load(a), keep_io_types=True), b),
        "fp16, half input": lambda a, b: save(convert_float_to_float16(load(a)), b),
        "int8 QDQ": lambda a, b: quantised("QDQ", a, b, x),
        "int8 QDQ, per tensor": lambda a, b: quantised("QDQ", a, b, x, per_channel=False),
        "int8 QOperator": lambda a, b: quantised("QOperator", a, b, x),
        "int8 dynamic": lambda a, b: quantised("dynamic", a, b, x),
        "external data": lambda a, b: save(load(a), b, save_as_external_data=True, location="data"),
        "optimised, basic": lambda a, b: optimised(a, b, "BASIC"),
        "optimised, extended": lambda a, b: optimised(a, b, "EXTENDED"),
    }


def cosine(a: Tensor, b: Tensor) -> float:
    """Of two gradients, in float64."""
    a, b = a.double().flatten(), b.double().flatten()
    return float(a @ b / (a.norm() * b.norm()))


def compare(model: nn.Module, source: Path, target: Path, x: Tensor) -> dict[str, Any]:
    """One variant's row."""
    copy = shadow_copy(target)
    _, gradient = step(copy, x)
    inputs = x.half() if copy.plan.inputs[0].element == onnx.TensorProto.FLOAT16 else x
    found = certify(target, copy, inputs.numpy())
    row: dict[str, Any] = {
        "difference": found.max_logit_difference,
        "certificate": found.status,
        "certificate_cosine": found.gradient_cosine,
        "native_cosine": cosine(gradient, step(model, x)[1]),
        "reason": found.reason,
    }
    if found.precision != "fp32":
        try:
            other = with_weights_of(model, x, onnx.load(source), onnx.load(target))
            # Half inputs are other inputs, too.
            row["file_weights_cosine"] = cosine(gradient, step(other, inputs.float())[1])
        except (ValueError, KeyError) as error:
            row["file_weights"] = f"not matched: {error!r}"
    return row


def rows_of(name: str, photos: Path | None, weights: Path | None) -> Iterator[dict[str, Any]]:
    """Every variant of one model."""
    model, x = native(name)
    images = photographs(photos, CALIBRATION, x.shape[-1])
    calibration, x = images, images[:BATCH]
    model = published(weights) if weights else fitted(model, calibration)
    moved = x + 0.01 * x.std() * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    shared = {"model": name, "weights": "ImageNet" if weights else "random"}
    shared["moved_cosine"] = cosine(step(model, moved)[1], step(model, x)[1])
    with tempfile.TemporaryDirectory() as work:
        exported, source = Path(work) / "exported.onnx", Path(work) / "float.onnx"
        onnx.save(export(model, x, "torchscript"), exported)
        quant_pre_process(exported, source, skip_symbolic_shape=True)
        for form, make in variants(calibration).items():
            target = Path(work) / f"{form.replace(', ', '_').replace(' ', '_')}.onnx"
            try:
                make(source, target)
            except Exception as error:  # whatever the tool raises is a finding about it, not about the copy
                yield shared | {"form": form, "tool_failed": f"{type(error).__name__}: {error}"[:200]}
            else:
                yield shared | {"form": form} | compare(model, source, target, x)


def main() -> None:
    """Make every variant of every model and compare it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--lite0", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    models = [(name, None) for name in arguments.models or MODELS]
    if arguments.lite0:
        models.insert(0, ("tf_efficientnet_lite0", arguments.lite0))
    rows = []
    for name, weights in models:
        for row in rows_of(name, arguments.photos, weights):
            rows.append(row)
            shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items() if v not in (None, "")}
            print("  ".join(f"{k}={v}" for k, v in shown.items()), flush=True)
    if not arguments.models:
        result = {"machine": machine(), "images": "photographs" if arguments.photos else "noise", "rows": rows}
        (RESULTS / "shadow_variants.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
