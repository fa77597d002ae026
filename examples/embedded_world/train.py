"""Train everything the embedded world ships, from fixed seeds: ``python examples/embedded_world/train.py``."""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import transformers
from measure import measure
from train_classifiers import PLANS, train_classifier
from train_clip import train_clip

CLIP_STEPS = 2200
HELD_OUT = 3000


def main() -> None:
    """Train the CLIP and the classifiers, measure them on held-out images, write ``record.json`` beside them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("embedded-world"), help="folder to write (embedded-world)")
    parser.add_argument("--only", default="", help="comma separated names, e.g. clip-shapes,leaky; the rest stays")
    parser.add_argument("--threads", type=int, default=1, help="torch threads; other counts round differently (1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = ["clip-shapes", *(plan.name for plan in PLANS)]
    chosen = options.only.split(",") if options.only else names
    if unknown := set(chosen) - set(names):
        parser.error(f"expected names among {', '.join(names)}, got {', '.join(sorted(unknown))}")
    options.out.mkdir(parents=True, exist_ok=True)
    if "clip-shapes" in chosen:
        note(options.out, "clip-shapes", train_clip(options.out / "clip-shapes", steps=CLIP_STEPS, images=HELD_OUT))
    for plan in PLANS:
        if plan.name in chosen:
            note(options.out, plan.name, train_classifier(plan, options.out, images=HELD_OUT))
    if (options.out / "clip-shapes").is_dir():
        for plan in PLANS:
            if (options.out / f"{plan.name}.onnx").is_file():
                carried = measure(options.out / f"{plan.name}.onnx", options.out / "clip-shapes", HELD_OUT)
                note(options.out, plan.name, {"carried": carried})


def note(out: Path, name: str, facts: dict[str, Any]) -> None:
    """Add what was found out about one model to ``record.json``, with the versions it was found with."""
    path = out / "record.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"models": {}}
    record["models"].setdefault(name, {}).update(facts)
    record["versions"] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "onnx": onnx.__version__,
        "numpy": np.__version__,
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
