"""Shadow copies of timm models: parity, gradients, speed and memory, beside onnx2torch and onnx2pytorch.

    python examples/benchmarks/shadow.py speed            # the table of forward + backward time and peak memory
    python examples/benchmarks/shadow.py parity           # the table of families and exporters

Needs timm and onnxscript; onnx2torch and onnx2pytorch are compared where they are installed. Weights are random, with
batch statistics that do something. Results are written to ``examples/benchmarks/results/``.

Time: forward and backward of a batch of 4, native and copied alternately, median of the rounds; the ratio is of those
medians. Memory: what torch's allocator holds at its peak during one forward and backward, weights left out, counted
by its own profiler events.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import logging
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from singaudit.classifier.shadow.certificate import certify
from singaudit.classifier.shadow.module import shadow_copy
from singaudit.machine import arithmetic, on_device
from singaudit.torchvision_import import import_torchvision

import_torchvision()

# The profiler announces each start and stop on the terminal otherwise.
os.environ.setdefault("KINETO_LOG_LEVEL", "5")

RESULTS = Path(__file__).parent / "results"
BATCH = 4
SPEED = (
    "resnet18",
    "mobilenetv3_small_050",
    "vit_tiny_patch16_224",
    "convnext_atto",
    "tf_efficientnet_lite0",
    "densenet121",
    "levit_128s",
    "swin_tiny_patch4_window7_224",
)
FAMILIES = (
    *SPEED, "mobilenetv2_100", "efficientnet_b0", "resnetv2_50x1_bit", "regnetx_002", "regnety_002", "ghostnet_100",
    "inception_v3", "vgg11", "deit_tiny_distilled_patch16_224", "mobilevit_xs", "xcit_nano_12_p16_224",
    "mixer_s32_224", "eva02_tiny_patch14_224",
)  # fmt: skip
DISPUTED = ("resnetv2_50x1_bit",)
"""Where ONNX Runtime's optimiser and its plain mode disagree; float64 settles which is right."""
EXPORTERS = ("torchscript", "dynamo")


def machine(device: str) -> dict[str, Any]:
    """Return what the numbers depend on."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0].split(":")[1].strip() if names else platform.processor(),
        "device": device if device == "cpu" else arithmetic(device),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "timm": __import__("timm").__version__,
    }


def native(name: str) -> tuple[nn.Module, Tensor]:
    """Return a timm model with random weights, and a batch of noise of its input size, both on the CPU."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False).eval()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(module.running_mean, 0.0, 0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.3)
            if module.affine:
                nn.init.uniform_(module.weight, 0.8, 1.2)
        if isinstance(module, nn.Linear) and not module.weight.any():
            # Some families start with a head of zeros, whose outputs and gradients would compare as equal trivially.
            nn.init.normal_(module.weight, 0.0, 0.02)
    return model.requires_grad_(False), torch.randn(BATCH, *model.pretrained_cfg["input_size"])


def export(model: nn.Module, x: Tensor, exporter: str, dynamic: bool = False) -> onnx.ModelProto:
    """Export by TorchScript at opset 17 or by dynamo at opset 20, with a dynamic batch if asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "torchscript":
            buffer = io.BytesIO()
            axes = {"image": {0: "n"}} if dynamic else None
            names = {"input_names": ["image"], "dynamic_axes": axes}
            torch.onnx.export(model, (x,), buffer, dynamo=False, opset_version=17, **names)
            return onnx.load_from_string(buffer.getvalue())
        shapes = ({0: torch.export.Dim("n", min=2, max=64)},) if dynamic else None
        program = torch.onnx.export(model, (x,), dynamo=True, opset_version=20, dynamic_shapes=shapes, verbose=False)
        return program.model_proto


def converted(tool: str, proto: onnx.ModelProto) -> nn.Module:
    """Convert a model by one of the three tools."""
    if tool == "singaudit":
        return shadow_copy(proto)
    if tool == "onnx2torch":
        import onnx2torch

        return onnx2torch.convert(proto).eval().requires_grad_(False)
    import onnx2pytorch

    return onnx2pytorch.ConvertModel(proto).eval().requires_grad_(False)


def step(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Run forward and backward; return the logits and the input's gradient."""
    leaf = x.clone().requires_grad_()
    output = model(leaf)
    output = output[0] if isinstance(output, (tuple, list)) else output
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    output.backward(weights.to(x.device))
    return output.detach(), leaf.grad


def difference(model: nn.Module, reference: nn.Module, x: Tensor) -> tuple[float, float]:
    """Return the largest difference of logits as a share of their range, and the cosine of the gradients."""
    (value, gradient), (expected, expected_gradient) = step(model, x), step(reference, x)
    a, b = gradient.double().flatten(), expected_gradient.double().flatten()
    share = float((value - expected).abs().max() / (expected.max() - expected.min()))
    return share, float(a @ b / (a.norm() * b.norm()))


def certificate(proto: onnx.ModelProto, shadow: nn.Module, images: Tensor) -> dict[str, Any]:
    """Return what the certificate of a copy says, wherever that computes, on images on the CPU."""
    found = certify(proto, shadow, images.numpy())
    return {
        "status": found.status,
        "max_logit_difference": found.max_logit_difference,
        "gradient_cosine": found.gradient_cosine,
        "reason": found.reason,
    }


def peak_bytes(model: nn.Module, x: Tensor) -> int:
    """Return the most memory that tensors made during one forward and backward hold at once, in bytes."""
    step(model, x)
    if x.is_cuda:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(model, x)
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step(model, x)
    held = peak = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda item: item.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def finish() -> None:
    """Wait for what a GPU was told to do, which goes on after the call returns."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def interleaved(models: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Time each model once per round, in turn; return medians in milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(2):
        for run in models.values():
            run()
    for _ in range(rounds):
        for name, run in models.items():
            finish()
            start = time.perf_counter()
            run()
            finish()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(name: str, exporter: str, rounds: int, device: str) -> dict[str, Any]:
    """Measure one model and exporter with every tool that converts it correctly."""
    model, x = native(name)
    row: dict[str, Any] = {"model": name, "exporter": exporter}
    try:
        proto = export(model, x, exporter)
    except Exception as error:  # whatever the exporter raises is a finding about it, not about the copy
        return row | {"export_failed": f"{type(error).__name__}: {error}"[:200]}
    models: dict[str, nn.Module] = {"native": on_device(model, device)}
    x = x.to(device)
    for tool in ("singaudit", "onnx2torch", "onnx2pytorch"):
        try:
            candidate = on_device(converted(tool, proto), device)
            share, cosine = difference(candidate, model, x)
            row[tool] = {"difference": share, "gradient_cosine": cosine}
            if share < 1e-3 and cosine > 0.99:
                models[tool] = candidate
        except Exception as error:  # the other tools fail in many ways
            row[tool] = {"failed": f"{type(error).__name__}: {error}"[:200]}
    medians = interleaved({key: (lambda m=m: step(m, x)) for key, m in models.items()}, rounds)
    peaks = {key: peak_bytes(m, x) for key, m in models.items()}
    row["native"] = {"milliseconds": medians["native"], "peak_bytes": peaks["native"]}
    if "singaudit" in models:
        row["singaudit"]["certificate"] = certificate(proto, models["singaudit"], x.cpu())
    for tool in set(models) - {"native"}:
        row[tool] |= {
            "milliseconds": medians[tool],
            "time_ratio": medians[tool] / medians["native"],
            "memory_ratio": peaks[tool] / peaks["native"],
        }
    return row


def runtime_difference(proto: onnx.ModelProto, x: Tensor, ours: Tensor, optimised: bool) -> float:
    """Return how far ONNX Runtime is from the copy, as a share of the range."""
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    value = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    return float(np.abs(value - ours.numpy()).max() / np.ptp(value))


def dispute(model: nn.Module, proto: onnx.ModelProto, x: Tensor, ours: Tensor) -> dict[str, float]:
    """Return how far the copy and both modes of ONNX Runtime are from the native module in float64."""
    with torch.no_grad():
        exact = copy.deepcopy(model).double()(x.double())
    return {
        "exact_to_copy": float((ours.double() - exact).abs().max() / (exact.max() - exact.min())),
        "exact_to_runtime_unoptimised": runtime_difference(proto, x, exact, False),
        "exact_to_runtime_optimised": runtime_difference(proto, x, exact, True),
    }


def compare(name: str, exporter: str, dynamic: bool, device: str) -> dict[str, Any]:
    """Compare one copy with its native module and with both modes of ONNX Runtime."""
    model, x = native(name)
    row: dict[str, Any] = {"model": name, "exporter": exporter, "dynamic_batch": dynamic}
    try:
        proto = export(model, x, exporter, dynamic)
    except Exception as error:  # as above
        return row | {"export_failed": f"{type(error).__name__}: {error}"[:200]}
    shadow = on_device(shadow_copy(proto), device)
    images = torch.randn(3, *x.shape[1:]) if dynamic else x
    row["difference"], row["gradient_cosine"] = difference(shadow, on_device(model, device), images.to(device))
    with torch.no_grad():
        ours = shadow(images.to(device))[0].cpu()
    model.cpu()
    row["certificate"] = certificate(proto, shadow, images)
    if row["model"] in DISPUTED:
        row |= dispute(model, proto, images, ours)
    row["runtime_unoptimised"] = runtime_difference(proto, images, ours, False)
    row["runtime_optimised"] = runtime_difference(proto, images, ours, True)
    return row


def speed_table(rows: list[dict[str, Any]]) -> str:
    """Return the speed results as text."""
    lines = [
        f"{'model':32s} {'exporter':12s} {'native ms':>9s} {'time':>6s} {'memory':>7s} "
        f"{'onnx2torch':>11s} {'onnx2pytorch':>13s}"
    ]
    for row in rows:
        if "export_failed" in row:
            lines.append(f"{row['model']:32s} {row['exporter']:12s} the exporter failed")
            continue
        others = [row[tool].get("time_ratio") for tool in ("onnx2torch", "onnx2pytorch")]
        shown = [
            f"{ratio:.2f}" if ratio else ("wrong" if "difference" in row[tool] else "no")
            for ratio, tool in zip(others, ("onnx2torch", "onnx2pytorch"), strict=True)
        ]
        ours = row["singaudit"]
        lines.append(
            f"{row['model']:32s} {row['exporter']:12s} {row['native']['milliseconds']:9.1f} "
            f"{ours.get('time_ratio', float('nan')):6.2f} {ours.get('memory_ratio', float('nan')):7.2f} "
            f"{shown[0]:>11s} {shown[1]:>13s}"
        )
    return "\n".join(lines)


def parity_table(rows: list[dict[str, Any]]) -> str:
    """Return the parity results as text."""
    lines = [
        f"{'model':32s} {'exporter':12s} {'batch':8s} {'native':>8s} {'cosine':>9s} {'ORT plain':>10s} {'ORT all':>8s}"
    ]
    for row in rows:
        head = f"{row['model']:32s} {row['exporter']:12s} {'dynamic' if row['dynamic_batch'] else 'static':8s}"
        if "export_failed" in row:
            lines.append(f"{head} the exporter failed: {row['export_failed'][:60]}")
            continue
        lines.append(
            f"{head} {row['difference']:8.1e} {row['gradient_cosine']:9.6f} "
            f"{row['runtime_unoptimised']:10.1e} {row['runtime_optimised']:8.1e}"
        )
    return "\n".join(lines)


def main() -> None:
    """Run one of the two benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("speed", "parity"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    parser.add_argument("--device", default="cpu", help="in torch's words; the results of a GPU are stored beside")
    parser.add_argument("--models", nargs="*", help="timm names; default: all")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    rows = []
    for name in arguments.models or (SPEED if arguments.what == "speed" else FAMILIES):
        for exporter in EXPORTERS:
            if arguments.what == "speed":
                rows.append(measure(name, exporter, arguments.rounds, arguments.device))
                print(speed_table(rows[-1:]).splitlines()[1], flush=True)
            else:
                rows += [compare(name, exporter, dynamic, arguments.device) for dynamic in (False, True)]
                print("\n".join(parity_table(rows[-2:]).splitlines()[1:]), flush=True)
    result: dict[str, Any] = {"machine": machine(arguments.device), "batch": BATCH, "rows": rows}
    if arguments.what == "speed":
        done = [row["singaudit"] for row in rows if "time_ratio" in row.get("singaudit", {})]
        result["median_time_ratio"] = statistics.median(item["time_ratio"] for item in done)
        result["worst_time_ratio"] = max(item["time_ratio"] for item in done)
        result["worst_memory_ratio"] = max(item["memory_ratio"] for item in done)
    if not arguments.models:
        RESULTS.mkdir(exist_ok=True)
        name = "shadow" if arguments.what == "speed" else "shadow_parity"
        name += ".json" if arguments.device == "cpu" else "_cuda.json"
        (RESULTS / name).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "rows"}, indent=1))


if __name__ == "__main__":
    main()
