"""What controls and bootstraps add to an audit: the whole audit against the same audit without them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from unittest.mock import patch

from measuring import Outcome, in_turn

from singaudit import AuditConfig, audit
from singaudit.dataset.generated.scenes import ATTRIBUTES
from singaudit.metrics.intervals import Bootstrap

IMAGES, CONCEPTS = 1000, 300


def concepts(count: int) -> list[str]:
    """Different concepts of the generated world: pairs of values of two attributes."""
    pairs = combinations(ATTRIBUTES.values(), 2)
    return [f"{a} and {b}" for first, second in pairs for a in first for b in second][:count]


def share(quick: bool) -> Outcome:
    """Seconds of both audits and what controls and bootstraps add: embeddings made anew each time, and all cached."""
    images, count = (200, 40) if quick else (IMAGES, CONCEPTS)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        words = Path(folder) / "concepts.txt"
        words.write_text("\n".join(concepts(count)), encoding="utf-8")
        for state, cache in (("nothing cached", "none"), ("everything cached", str(Path(folder) / "cache"))):
            config = AuditConfig(
                model="builtin:leaky", images=f"shapes:{images}", vlm="builtin:shapes", concepts=str(words), cache=cache
            )
            calls: dict[str, Callable[[], object]] = {
                "with them": lambda config=config: audit(config),  # type: ignore[misc]
                "without controls, two bootstrap draws": lambda config=config: _bare(config),  # type: ignore[misc]
            }
            seconds = in_turn(calls, 2 if quick else 6)
            bare = list(seconds.values())[1]
            rows += [
                {"images": state, "audit": name, "seconds": value, "share added": value / bare - 1}
                for name, value in seconds.items()
            ]
    outcome = Outcome(f"Controls and bootstraps in an audit of {images:,} images and {count} concepts", rows)
    if not quick:
        for row in rows[::2]:
            outcome.expect(f"share added to the audit, {row['images']}", row["share added"], at_most=0.3)
    return outcome


def _bare(config: AuditConfig) -> object:
    with (
        patch("singaudit.pipeline.audit.run_controls", lambda *_: []),
        patch.object(Bootstrap.__init__, "__defaults__", (2,)),
    ):
        return audit(config)
