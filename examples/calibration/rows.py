"""Audit the worlds of the calibration's rows one by one, each kept in a file once it is done, and print the table.

    python examples/calibration/rows.py --worlds 20 --seed 1 -o examples/calibration/rows.jsonl
    python examples/calibration/rows.py --worlds 0 -o examples/calibration/rows.jsonl         # the table alone

The same worlds by the same code as ``singaudit calibrate``, for runs of hours that may be stopped: what the file holds
is not audited again. The first world of every row comes before the second of any.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from singaudit import audit_arrays
from singaudit.demo.calibration.rows import MANY, ROWS
from singaudit.demo.calibration.settings import rows_table, summarise
from singaudit.demo.calibration.worlds import plant

FOUND = ("strong", "partial", "nonlinear")


def kept(path: Path) -> list[dict[str, Any]]:
    """The worlds that the file holds."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(path: Path, seed: int, worlds: int, wanted: str) -> None:
    """Audit worlds 0 to ``worlds`` - 1 of the rows whose names hold ``wanted``, but for those that are kept."""
    done = {(one["row"], one["seed"], one["index"]) for one in kept(path)}
    rows = [row for row in (*ROWS, *MANY) if wanted in row.name]
    for index, row in ((index, row) for index in range(worlds) for row in rows):
        if (row.name, seed, index) in done:
            continue
        start = time.process_time()
        world = plant(row, seed, index)
        found = audit_arrays(**world.arrays).findings
        tests = [(world.roles[f.group], f.finding) for f in found]
        missed = [
            [f.group, f.finding, f.rule] for f in found if (world.roles[f.group] == "ignored") != (f.finding in FOUND)
        ]
        one = {"row": row.name, "seed": seed, "index": index, "cpu_s": round(time.process_time() - start, 1)}
        with path.open("a") as file:
            file.write(json.dumps(one | {"tests": tests, "missed": missed}) + "\n")


def table(path: Path, seed: int) -> str:
    """Markdown of the kept worlds of a seed."""
    tests: dict[str, list[list[tuple[str, str]]]] = defaultdict(list)
    for one in kept(path):
        if one["seed"] == seed:
            tests[one["row"]].append([(role, finding) for role, finding in one["tests"]])
    return "\n".join(rows_table([summarise(row, tests[row.name]) for row in (*ROWS, *MANY) if row.name in tests]))


def main() -> None:
    """Audit, then print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--row", default="", help="only rows whose names hold this text")
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    run(asked.output, asked.seed, asked.worlds, asked.row)
    print(table(asked.output, asked.seed))


if __name__ == "__main__":
    main()
