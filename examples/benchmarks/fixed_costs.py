"""What a second audit costs beside its passes, when all that models computed is cached, in CPU-seconds."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
from made_clip import make_clip
from made_photos import write
from measuring import Outcome

CLASSES, FEATURES, GROUPS = 1000, 1280, 30
PREPROCESS = "size=224,crop=0.875,interpolation=bicubic,scale=255,mean=0.5,std=0.25"


def cheap_classifier(path: Path) -> None:
    """Patches of the image -> 1,280 features -> 1,000 logits, random weights: nearly nothing but the head."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.standard_normal((FEATURES, 3, 32, 32), np.float32) / 55,
        "head": rng.standard_normal((CLASSES, FEATURES), np.float32) / 36,
        "bias": np.zeros(CLASSES, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["patches"], strides=[32, 32]),
        helper.make_node("Relu", ["patches"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "head", "bias"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "cheap",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def concepts(count: int) -> str:
    """So many groups of three to eight values."""
    words = [f"{a} {b}" for a, b in product(("old", "wet", "tall", "red", "plain", "far"), ("house", "sea", "dog"))]
    groups = []
    for i in range(count):
        values = [f"{words[(5 * i + 7 * k) % len(words)]} of kind {i}" for k in range(3 + i % 6)]
        groups.append(f"[group{i}]\nvalues = {json.dumps(values)}\n")
    return "\n".join(groups)


def costs(quick: bool, profile: Path | None = None) -> Outcome:
    """CPU-seconds, user and system, of the second audit and of all processes that it starts."""
    images = 120 if quick else 1000
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        (root / "photos").mkdir()
        write(root / "photos", images)
        cheap_classifier(root / "model.onnx")
        make_clip(root / "clip", "thin")
        (root / "concepts.toml").write_text(concepts(GROUPS))
        (root / "names.txt").write_text("".join(f"class {i}\n" for i in range(CLASSES)))
        command = [
            "-m", "singaudit", "run", str(root / "model.onnx"), "--preprocess", PREPROCESS,
            "--classes", str(root / "names.txt"), "--images", str(root / "photos"), "--vlm", str(root / "clip"),
            "--concepts", str(root / "concepts.toml"), "--cache", str(root / "cache"), "--output", str(root / "out"),
            "--force", "--quiet", "--report",
        ]  # fmt: skip

        # An installed package's modules are compiled; those of a checkout are at its first run, where that is allowed.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

        def audit(report: str, *before: str) -> float:
            started = _spent()
            done = subprocess.run(
                [sys.executable, *before, *command, report],
                env=environment,
                check=False,
                capture_output=True,
                text=True,
            )
            if done.returncode not in (0, 1, 4):
                raise SystemExit(f"the audit ended with {done.returncode}: {done.stderr}")
            return _spent() - started

        whole = "html,json,csv,pdf"
        seconds = {
            "first audit": audit(whole),
            "second audit": audit(whole),
            "second audit, HTML, JSON and CSV alone": audit("html,json,csv"),
        }
        if profile is not None:
            audit(whole, "-m", "cProfile", "-o", str(profile))
    rows = [{"audit": name, "CPU-seconds": round(value, 1)} for name, value in seconds.items()]
    found = Outcome(f"Audits of {images} photographs, {CLASSES:,} classes and {GROUPS} groups, cheap models", rows)
    if not quick:
        found.expect("CPU-seconds of an audit, everything cached", seconds["second audit"], at_most=25)
    found.notes.append("CPU-seconds of the command and of all its processes; every embedding and feature is cached.")
    return found


def _spent() -> float:
    """CPU-seconds of ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    outcome = costs("--quick" in sys.argv, Path(sys.argv[-1]) if sys.argv[-1].endswith(".prof") else None)
    for row in outcome.rows:
        print(row)
