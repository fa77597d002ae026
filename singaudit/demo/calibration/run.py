"""Make planted worlds, audit each with the audit's own measurement and rules, and count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from singaudit.demo.calibration.linear import linear_world
from singaudit.demo.calibration.planted import plan, train
from singaudit.demo.calibration.pool import make_pool
from singaudit.demo.calibration.roles import GroupTest, World
from singaudit.demo.calibration.rows import ROWS, Row
from singaudit.demo.calibration.settings import count_rows
from singaudit.demo.calibration.table import rate, summary, wrong
from singaudit.metrics.control_run import run_controls
from singaudit.metrics.findings import THRESHOLDS
from singaudit.metrics.judge import judge_groups
from singaudit.metrics.measure import measure

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Size:
    """How much is calibrated."""

    models: int
    """Trained models of generated images."""
    linear: int
    """Linear-Gaussian worlds."""
    pool: int
    """Generated images that the models share."""
    images: int = 500
    """Audited per model."""
    translator_images: int = 4000
    """Behind each translator."""
    fewer: tuple[tuple[int, int], ...] = ((500, 1000), (300, 4000), (200, 4000), (500, 500))
    """(images, translator images) of the worlds audited with fewer."""
    rows: tuple[Row, ...] = ()
    """Settings of the table of ``rows``."""
    worlds: int = 0
    """Worlds of each."""


FULL = Size(models=60, linear=48, pool=14_000, rows=ROWS, worlds=20)
# Images take longer to draw and embed than all of this.
QUICK = Size(models=0, linear=6, pool=0, rows=ROWS, worlds=1)


def calibrate(size: Size, seed: int, progress: Progress) -> dict[str, Any]:
    """Rates over all worlds, tuning and held-out ones apart, every test beside them."""
    tests = []
    for done, world in enumerate(_worlds(size, seed, size.images, size.translator_images, progress), 1):
        tests += audit_world(world)
        progress("audit planted models", done, size.models + size.linear)
    few = []
    share = replace(size, models=max(size.models // 8, min(size.models, 2)), linear=max(size.linear // 8, 2))
    for step, (images, translator_images) in enumerate(size.fewer):
        found = [
            test
            for world in _worlds(share, seed, images, translator_images, lambda *_: None)
            for test in audit_world(world)
        ]
        few.append(
            {
                "images": images,
                "translator_images": translator_images,
                "tests": len(found),
                "cannot_tell": rate(found, lambda t: t.finding in ("cannot tell", "unstable")),
                "wrong": rate(found, wrong),
            }
        )
        progress("audit with fewer images", step + 1, len(size.fewer))

    def apart(held_out: bool) -> dict[str, Any]:
        mine = [t for t in tests if t.held_out == held_out]
        kinds = {"generated images": "images", "linear-Gaussian": "linear"}
        return {name: summary([t for t in mine if t.kind == kind]) for name, kind in kinds.items()} | {
            "both": summary(mine)
        }

    return {
        "seed": seed,
        "images": size.images,
        "translator_images": size.translator_images,
        "thresholds": asdict(THRESHOLDS),
        "held_out": apart(True),
        "tuning": apart(False),
        "all": summary(tests),
        "sizes": few,
        "rows": count_rows(size.rows, size.worlds, seed, progress),
        "tests": [asdict(test) for test in tests],
    }


_POOLS: dict[int, Any] = {}


def _worlds(size: Size, seed: int, images: int, translator_images: int, progress: Progress) -> Iterator[World]:
    if size.models and size.pool not in _POOLS:
        _POOLS[size.pool] = make_pool(size.pool, lambda done, total: progress("draw and embed images", done, total))
    for index in range(size.models):
        yield train(_POOLS[size.pool], plan(index, seed), images, translator_images)
    for index in range(size.linear):
        yield linear_world(index, seed, images, translator_images)


def audit_world(world: World) -> list[GroupTest]:
    """One test per concept group, by the audit's own measurement, controls and rules."""
    subject = world.subject
    measured = measure(subject)
    return [
        GroupTest(
            world.name, world.kind, world.held_out, len(subject.features), subject.fitted.images,
            subject.space.feature_dim, found.group.of.name, world.roles[found.group.of.name],
            world.strength[found.group.of.name], found.finding, found.rule,
        )
        for found in judge_groups(subject, measured, run_controls(subject, measured))
    ]  # fmt: skip
