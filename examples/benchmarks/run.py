"""Every number that singaudit claims about itself, measured here: prints tables and stores them with the machine.

    python examples/benchmarks/run.py                        # all of it, about 15 minutes on two cores
    python examples/benchmarks/run.py --only null-space      # one part; repeat --only for more
    python examples/benchmarks/run.py --quick                # small sizes, to see that it works; stores nothing

Needs the extra ``bench`` (``pip install 'singaudit[bench]'``). Results go to ``results/latest.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measuring import Outcome, machine
from rich.console import Console
from rich.table import Table

LATEST = Path(__file__).parent / "results" / "latest.json"


def _null_space(options: argparse.Namespace) -> list[Outcome]:
    from null_space_speed import speed

    return [speed(options.quick)]


def _ranks(options: argparse.Namespace) -> list[Outcome]:
    from null_space_speed import ranks

    return [ranks(options.reference)]


def _translator(options: argparse.Namespace) -> list[Outcome]:
    from translator_speed import speed

    return [speed(options.quick, options.rows)]


def _scores(options: argparse.Namespace) -> list[Outcome]:
    from scores_speed import speed

    return [speed(options.quick)]


def _controls(options: argparse.Namespace) -> list[Outcome]:
    from controls_speed import share

    return [share(options.quick)]


def _features(options: argparse.Namespace) -> list[Outcome]:
    from feature_pass import speed

    return speed(options.quick, options.photos)


def _encoder(options: argparse.Namespace) -> list[Outcome]:
    from encoder_speed import speed

    return speed(options.quick)


def _pack(options: argparse.Namespace) -> list[Outcome]:
    from pack_speed import speed

    return [speed(options.quick)]


def _cache(options: argparse.Namespace) -> list[Outcome]:
    from cache_speed import audits, first, speed

    return [speed(options.quick), first(options.quick), audits(options.quick)]


def _fixed(options: argparse.Namespace) -> list[Outcome]:
    from fixed_costs import costs

    return [costs(options.quick)]


def _startup(options: argparse.Namespace) -> list[Outcome]:
    from startup_speed import speed

    return [speed(options.quick)]


def _refine(options: argparse.Namespace) -> list[Outcome]:
    from refine_speed import speed

    return speed(options.quick)


BENCHMARKS: dict[str, Callable[[argparse.Namespace], list[Outcome]]] = {
    "startup": _startup,
    "ranks": _ranks,
    "null-space": _null_space,
    "scores": _scores,
    "controls": _controls,
    "features": _features,
    "encoder": _encoder,
    "pack": _pack,
    "cache": _cache,
    "fixed": _fixed,
    "translator": _translator,
    "refine": _refine,
}


def show(outcome: Outcome, console: Console) -> None:
    """A table, its notes, and each target with whether it was met."""
    table = Table(title=outcome.title, title_justify="left")
    for key in outcome.rows[0]:
        table.add_column(key, justify="left" if isinstance(outcome.rows[0][key], str) else "right")
    for row in outcome.rows:
        table.add_row(*(text_of(value) for value in row.values()))
    console.print(table)
    for note in outcome.notes:
        console.print(note)
    for target in outcome.targets:
        console.print(
            f"{'met' if target['met'] else 'MISSED'}: {target['name']} {target['value']:g} ({target['target']})"
        )
    console.print()


def text_of(value: Any) -> str:
    """One cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.2e}" if 0 < abs(value) < 1e-3 else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def store(results: dict[str, list[Outcome]], here: dict[str, Any], path: Path) -> None:
    """Write the results with the machine; parts measured before, on the same machine and packages, stay."""
    kept: dict[str, Any] = {}
    if path.exists():
        before = json.loads(path.read_text())
        same = all(before["machine"][key] == here[key] for key in here if key != "load_at_start")
        kept = before["benchmarks"] if same else {}
    measured = {name: [dataclasses.asdict(o) for o in outcomes] for name, outcomes in results.items()}
    benchmarks = {name: {**kept, **measured}[name] for name in BENCHMARKS if name in kept or name in measured}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": here, "benchmarks": benchmarks}, indent=2) + "\n")


def main() -> int:
    """Run what was asked for; 1 when a target was missed."""
    parser = argparse.ArgumentParser(description="Measure what singaudit claims about its speed, memory and accuracy.")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="run this part; may be repeated")
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing stored")
    parser.add_argument("--photos", type=Path, help="folder of photographs for the feature pass (default: made ones)")
    parser.add_argument("--reference", type=Path, help=".npz with a trained head's weight, for the ranks")
    parser.add_argument("--rows", type=int, action="append", help="rows for the translator, ascending; repeat for more")
    options = parser.parse_args()
    console, here, results = Console(width=160), machine(), {}
    for name in options.only or BENCHMARKS:
        results[name] = BENCHMARKS[name](options)
        for outcome in results[name]:
            show(outcome, console)
        if not options.quick:
            store(results, here, LATEST)
    return 0 if all(t["met"] for outcomes in results.values() for o in outcomes for t in o.targets) else 1


if __name__ == "__main__":
    sys.exit(main())
