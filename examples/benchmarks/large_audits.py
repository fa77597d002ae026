"""Audits of many images and of many classes: time for each image, memory beyond the files, size of the report, scenes.

python examples/benchmarks/large_audits.py                            # all of it, more than an hour on two cores
python examples/benchmarks/large_audits.py arrays --rows 100000       # one part, sizes of your own
python examples/benchmarks/large_audits.py --quick                    # small sizes, to see that it works
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from measuring import Outcome
from numpy.lib.format import open_memmap
from scene_search import scenes

VALUES = {"colour": 4, "texture": 3, "place": 5}
SIZES = (10_000, 100_000, 1_000_000)
LATENT, BLOCK = 64, 8192


def write_arrays(folder: Path, rows: int, features: int, width: int, classes: int) -> None:
    """A folder for ``run --arrays``, written a block of rows at a time: a class and three groups' values in both."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    sizes = {"class": classes, **VALUES}
    texts = {name: rng.normal(size=(count, width)).astype(np.float32) for name, count in sizes.items()}
    seen = {name: rng.normal(size=(count, features)).astype(np.float32) for name, count in sizes.items()}
    mixing = rng.normal(size=(LATENT, features)).astype(np.float32)
    arrays = {
        "features": open_memmap(folder / "features.npy", "w+", np.float32, (rows, features)),
        "embeddings": open_memmap(folder / "embeddings.npy", "w+", np.float32, (rows, width)),
        "class_labels": open_memmap(folder / "class_labels.npy", "w+", np.int64, (rows,)),
    }
    for start in range(0, rows, BLOCK):
        block = slice(start, min(start + BLOCK, rows))
        count = block.stop - start
        own = {name: rng.integers(0, size, count) for name, size in sizes.items()}
        f = rng.standard_normal((count, LATENT), np.float32) @ mixing / 4
        f += rng.standard_normal((count, features), np.float32)
        z = rng.standard_normal((count, width), np.float32) / 2
        for name, of in own.items():
            f += seen[name][of]
            z += texts[name][of]
        arrays["features"][block], arrays["embeddings"][block] = f, z
        arrays["class_labels"][block] = own["class"]
    for array in arrays.values():
        array.flush()
    np.save(folder / "weight.npy", seen["class"] / np.float32(np.sqrt(features)))
    np.save(folder / "bias.npy", np.zeros(classes, np.float32))
    np.save(folder / "class_texts.npy", texts["class"])
    for name in VALUES:
        np.save(folder / f"group.{name}.npy", texts[name])
    names = {
        "classes": [f"class {i}" for i in range(classes)],
        "groups": {name: [f"{name} {i}" for i in range(count)] for name, count in VALUES.items()},
    }
    (folder / "names.json").write_text(json.dumps(names))


def audited(words: list[str], out: Path) -> dict[str, float]:
    """Seconds, CPU-seconds, and peak MiB of memory that no file backs, of the command and all its processes."""
    command = [sys.executable, "-m", "singaudit", "run", *words, "--output", str(out), "--quiet", "--force"]
    start, before, peak = time.perf_counter(), _processor_seconds(), 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        while process.poll() is None:
            peak = max(peak, sum(map(_private, _family(process.pid))))
            time.sleep(0.1)
        if process.returncode not in (0, 1, 4):
            said.seek(0)
            raise SystemExit(f"the audit ended with {process.returncode}: {said.read().decode()[-2000:]}")
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "CPU-s": round(_processor_seconds() - before, 1),
        "MiB beyond files": round(peak / 1024),
    }


def _processor_seconds() -> float:
    """Of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _family(process: int) -> list[int]:
    """A process and all that descend from it."""
    found = [process]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def _private(process: int) -> int:
    """KiB of a process that no file backs; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def arrays(quick: bool, sizes: Sequence[int] = SIZES) -> Outcome:
    """``run --arrays``: features (n, 2048) and embeddings (n, 768) on disk."""
    sizes = (1000, 2000) if quick else sizes
    rows = []
    for count in sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "arrays"
            write_arrays(folder, count, *((64, 32, 10) if quick else (2048, 768, 1000)))
            cost = audited(["--arrays", str(folder), "--report", "html,json"], Path(temporary) / "out")
        rows.append({"images": count, **cost, "CPU-ms an image": round(1e3 * cost["CPU-s"] / count, 3)})
    found = Outcome("Audits of arrays on disk, 2,048 features, 768 of an embedding, 1,000 classes", rows)
    if not quick:
        found.expect("MiB beyond the files at most", max(row["MiB beyond files"] for row in rows), at_most=4096)
    if len(rows) > 1 and not quick:
        step = [(b["CPU-s"] - a["CPU-s"]) / (b["images"] - a["images"]) for a, b in pairwise(rows)]
        found.notes.append(f"CPU-ms of a further image, by sizes: {', '.join(f'{1e3 * each:.2f}' for each in step)}")
        found.expect("time of a further image, most over least", max(step) / min(step), at_most=1.25)
    found.notes.append("Files are mapped: their pages, which the system drops when it needs memory, are not counted.")
    return found


def classes(quick: bool) -> Outcome:
    """The same images with 1,000 and with 21,843 classes."""
    rows = []
    for count in (10, 200) if quick else (1000, 21_843):
        with tempfile.TemporaryDirectory() as temporary:
            folder, out = Path(temporary) / "arrays", Path(temporary) / "out"
            write_arrays(folder, 1000 if quick else 4000, *((64, 32) if quick else (1024, 512)), count)
            cost = audited(["--arrays", str(folder), "--report", "html,json"], out)
            sizes = {name: (out / name).stat().st_size / 1e6 for name in ("report.html", "result.json")}
        rows.append(
            {
                "classes": count,
                **cost,
                "report.html, MB": round(sizes["report.html"], 2),
                "result.json, MB": round(sizes["result.json"], 2),
            }
        )
    found = Outcome("Audits of 4,000 images with few and with many classes, 1,024 features", rows)
    if not quick:
        found.expect("MB of the report of 21,843 classes", rows[1]["report.html, MB"], at_most=2)
        found.expect("21,843 classes over 1,000, seconds", rows[1]["seconds"] / rows[0]["seconds"], at_most=2)
    return found


def memory(quick: bool) -> Outcome:
    """The embedded classifier on few and on eight times as many generated images."""
    rows = []
    for count in (500, 1000) if quick else (4000, 32_000):
        with tempfile.TemporaryDirectory() as temporary:
            words = [
                "builtin:leaky",
                "--vlm",
                "builtin:shapes",
                "--images",
                f"shapes:{count}",
                "--report",
                "html,json,csv",
            ]
            cost = audited([*words, "--cache", str(Path(temporary) / "cache")], Path(temporary) / "out")
        rows.append({"images": count, **cost})
    found = Outcome("Whole audits of generated images, nothing cached", rows)
    if not quick:
        found.expect(
            "memory at 32,000 images over 4,000",
            rows[1]["MiB beyond files"] / rows[0]["MiB beyond files"],
            at_most=1.25,
        )
    return found


PARTS = {"scenes": scenes, "arrays": arrays, "classes": classes, "memory": memory}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure audits of many images and of many classes.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all of them where none is named")
    parser.add_argument("--rows", type=int, action="append", help="images of arrays, rising; repeat for more")
    parser.add_argument("--quick", action="store_true", help="small sizes")
    options = parser.parse_args()
    for part in options.parts or PARTS:
        more = {"sizes": options.rows} if part == "arrays" and options.rows else {}
        outcome = PARTS[part](options.quick, **more)
        print(outcome.title)
        for row in (*outcome.rows, *outcome.targets, *outcome.notes):
            print("  ", row, flush=True)
