"""How often do the 95 % intervals hold the truth? Audits of linear-Gaussian worlds, a table on stdout.

    python examples/calibration/coverage.py --worlds 8 --audits 64 --audited 300 1000 300x10

Every world's translator is fitted once, on images of its own: intervals do not contain the translator's variance, and
the truth is what the same translator shows of 100,000 further images, whose own error is a tenth of that of an audit of
1,000. Probes are fitted on the audited images; their truth is their mean over all audits of a world. Worlds differ in
classes, widths, roles, strengths and rare values. Audited are so many images, or so many scenes of so many frames each
(300x10), which differ by a fiftieth of the images' spread.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from singaudit.demo.calibration.linear import linear_world
from singaudit.metrics.intervals import Estimate, wilson
from singaudit.metrics.measure import MODEL_COLUMNS, Measured, measure
from singaudit.metrics.subject import Subject

TRUTH, TRANSLATOR = 100_000, 4_000
FRAME = 0.02
_AT = {name: i for i, name in enumerate(MODEL_COLUMNS)}
_OWN_TRUTH = ("probe of f", "probe of P_p f", "probe of P_n f")
"""Statistics that depend on how many images the audit has: their truth is the mean over audits."""


def part(subject: Subject, rows: slice) -> Subject:
    """The audit of some of a subject's images by the same translator."""
    return replace(
        subject,
        features=subject.features[rows],
        embeddings=subject.embeddings[rows],
        sha256=subject.sha256[rows],
        class_of=subject.class_of[rows],
        fitted=replace(subject.fitted, fold=subject.fitted.fold[rows]),
        groups=tuple(replace(g, labels=None if g.labels is None else g.labels[rows]) for g in subject.groups),
    )


def framed(subject: Subject, frames: int, seed: int) -> Subject:
    """Every image as a scene of ``frames`` near-identical ones, one unit together."""
    rng = np.random.default_rng([seed, 19])
    scene = np.repeat(np.arange(len(subject.features)), frames)

    def shaken(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        noise = FRAME * rows.std(axis=0) * rng.normal(size=(len(scene), rows.shape[1]))
        return (rows[scene] + noise).astype(np.float32)

    sha = [hashlib.sha256(f"{subject.sha256[s]}:{i % frames}".encode()).hexdigest() for i, s in enumerate(scene)]
    return replace(
        subject,
        features=shaken(subject.features),
        embeddings=shaken(subject.embeddings),
        sha256=sha,
        class_of=subject.class_of[scene],
        fitted=replace(subject.fitted, fold=subject.fitted.fold[scene]),
        groups=tuple(replace(g, labels=None if g.labels is None else g.labels[scene]) for g in subject.groups),
        units=scene,
    )


def statistics(measured: Measured) -> Iterator[tuple[str, int, Estimate]]:
    """(name, group or -1, estimate) of the main statistics."""
    model = measured.model
    for name, column in (
        ("image score", "is_zero"),
        ("signed attribute score", "as_zero"),
        ("attribute score", "abs_zero"),
        ("agreement", "agreement"),
    ):
        yield name, -1, model.mean(_AT[column])
    yield "ratio", -1, model.ratio(_AT["is_zero"], _AT["abs_zero"])
    yield "translator R2", -1, measured.r2
    yield "null energy share", -1, model.ratio(_AT["null_energy"], _AT["energy"])
    for g, group in enumerate(each.numbers for each in measured.groups):
        if group is None:
            continue
        c = group.carried
        yield "margin", g, c.margin
        yield "contrast", g, c.contrast
        if c.margin_share.low >= 0.05:  # as the audit: a share of no reading is not shown
            yield "carried share", g, c.carried_share
            yield "null-follow share", g, c.follow_share
        yield "null-follow", g, c.follow
        yield "null-follow, normalised", g, c.follow_normalised
        yield "readability", g, group.readable
        yield from zip(_OWN_TRUTH, (g, g, g), (group.probe, group.probe_principal, group.probe_null), strict=True)


Misses = dict[str, list[int]]
"""Per statistic: intervals, those below the truth, those above it."""


def count(worlds: int, audits: int, designs: list[tuple[int, int]], seed: int) -> list[Misses]:
    """Audit every world ``audits`` times with each of ``designs``: so many scenes of so many frames."""
    found: list[Misses] = [defaultdict(lambda: [0, 0, 0]) for _ in designs]
    most = max(scenes for scenes, _ in designs)
    for index in range(worlds):
        whole = linear_world(index, seed, TRUTH + audits * most, TRANSLATOR).subject
        truth = {(name, g): e.value for name, g, e in statistics(measure(part(whole, slice(TRUTH))))}
        for misses, (scenes, frames) in zip(found, designs, strict=True):
            drawn: dict[tuple[str, int], list[Estimate]] = defaultdict(list)
            for audit in range(audits):
                start = TRUTH + audit * most
                subject = replace(part(whole, slice(start, start + scenes)), seed=audit)
                if frames > 1:
                    subject = framed(subject, frames, audit)
                for name, g, estimate in statistics(measure(subject)):
                    drawn[name, g].append(estimate)
            tally(misses, drawn, truth, audits)
        print(f"world {index + 1} of {worlds}", file=sys.stderr)
    return found


def tally(
    misses: Misses, drawn: dict[tuple[str, int], list[Estimate]], truth: dict[tuple[str, int], float], audits: int
) -> None:
    """Add the intervals of one world's ``audits``."""
    for (name, g), estimates in drawn.items():
        values: NDArray[np.float64] = np.array([e.value for e in estimates])
        target = float(values.mean()) if name in _OWN_TRUTH else truth.get((name, g), np.nan)
        # A share that is shown in some audits only would be chosen by its own value.
        if np.isfinite(target) and len(estimates) == audits:
            ends = np.array([(e.low, e.high) for e in estimates])
            misses[name][0] += audits
            misses[name][1] += int(np.count_nonzero(ends[:, 1] < target))
            misses[name][2] += int(np.count_nonzero(ends[:, 0] > target))


def table(by_design: dict[str, Misses]) -> str:
    """Markdown: coverage, its Wilson interval as if all were independent, and to which side intervals miss."""
    lines = ["| statistic | audited | intervals | hold the truth | too low | too high |", "|---|---|---|---|---|---|"]
    for name in next(iter(by_design.values())):
        for design, found in by_design.items():
            n, low, high = found[name]
            if n:
                ends = "{:.1%} to {:.1%}".format(*wilson(n - low - high, n))
                held = f"{1 - (low + high) / n:.1%} ({ends})"
                lines.append(f"| {name} | {design} | {n} | {held} | {low / n:.1%} | {high / n:.1%} |")
    return "\n".join(lines)


def design_of(asked: str) -> tuple[int, int]:
    """(scenes, frames) of "300" or "300x10"."""
    scenes, _, frames = asked.partition("x")
    return int(scenes), int(frames or 1)


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=8)
    parser.add_argument("--audits", type=int, default=64)
    parser.add_argument("--audited", nargs="+", default=["300", "1000", "300x10"])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    found = count(asked.worlds, asked.audits, [design_of(one) for one in asked.audited], asked.seed)
    print(table(dict(zip(asked.audited, found, strict=True))))


if __name__ == "__main__":
    main()
