"""A pass by two Ray actors against two local threads, the start of either left out.

    python examples/benchmarks/ray_speed.py [--quick]        # needs the extra "ray"

Both run the classifier of ``feature_pass.py`` over the same photographs, so many that a pass takes some time, and over
a few of them: what the further photographs take is what counts.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from feature_pass import BATCH, PREPROCESS, export
from made_photos import write
from measuring import Outcome

from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.options import ModelOptions
from singaudit.dataset.sources.table import open_source
from singaudit.engine.interface import EngineSettings, Step
from singaudit.engine.table import open_engine
from singaudit.pipeline.passes.recipes import ClassifierRecipe

TARGET = 1.2


def speed(quick: bool) -> Outcome:
    """Seconds of the local engine and of Ray on a cluster of two workers of this machine."""
    few, many, rounds = (16, 48, 1) if quick else (64, 1600, 3)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for name, count in (("few", few), ("many", many)):
            (root / name).mkdir()
            write(root / name, count)
        export(root / "model.onnx")
        options = ModelOptions(preprocess=PREPROCESS)
        recipe = ClassifierRecipe(
            str(root / "model.onnx"), options, open_classifier(str(root / "model.onnx"), options).sha256
        )
        engines = {name: open_engine(name, EngineSettings()) for name in ("local", "ray")}
        seconds: dict[tuple[str, str], list[float]] = {}
        features = {}
        for _ in range(rounds):
            for photos in ("few", "many"):
                source = open_source(str(root / photos))
                for name, engine in engines.items():
                    start = time.perf_counter()
                    found = engine(source, {"classifier": Step(recipe)}, batch_size=BATCH)
                    seconds.setdefault((name, photos), []).append(time.perf_counter() - start)
                    features[name] = found.outputs["classifier"][0]
        if not np.array_equal(features["local"], features["ray"]):
            raise SystemExit("the two engines give different features")
    middle = {key: float(np.median(found)) for key, found in seconds.items()}
    beyond = {name: middle[name, "many"] - middle[name, "few"] for name in engines}
    rows = [
        {
            "engine": name,
            f"{few} photographs": round(middle[name, "few"], 2),
            f"{many}": round(middle[name, "many"], 2),
            "a further one (ms)": round(1000 * beyond[name] / (many - few), 2),
        }
        for name in engines
    ]
    found = Outcome("Two Ray actors against two local threads, features of EfficientNet-Lite0, equal to the byte", rows)
    if not quick:
        found.expect("Ray / local, beyond the start", beyond["ray"] / beyond["local"], at_most=TARGET)
    return found


if __name__ == "__main__":
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    outcome = speed("--quick" in sys.argv)
    for row in [*outcome.rows, *outcome.targets]:
        print(row)
