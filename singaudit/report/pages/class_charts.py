"""Charts about one class: the angle to each concept before and after, joined by an arrow (the paper's Figure 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from singaudit.report.pages.charts import BLUE, VERMILLION, data, domain, to_svg
from singaudit.report.pages.text import plain, shorten
from singaudit.report.result.scores import ClassPart
from singaudit.report.result.words import WordPart

MAX_CLASSES = 6
"""Classes drawn; result.json holds all."""


def telling_classes(classes: Sequence[ClassPart]) -> list[ClassPart]:
    """The classes whose confirmed words change most, largest first."""
    ready = [c for c in classes if any(_drawn(w) for w in c.words)]
    ready.sort(key=lambda c: -max(abs(w.change_deg.value) for w in c.words if w.change_deg is not None))
    return ready[:MAX_CLASSES]


def _drawn(word: WordPart) -> bool:
    return word.before_deg is not None and word.after_deg is not None and word.change_deg is not None


def word_arrows(part: ClassPart) -> str:
    """The angle to each of a class's words before (ring) and after (arrow head) mean removal, degrees."""
    import altair as alt

    words = [w for w in part.words if _drawn(w)]
    rows: list[dict[str, Any]] = []
    for row, word in enumerate(words):
        label = f"{plain(word.group)}: {word.name}" if word.group else word.name
        rows.append(
            {
                "y": len(words) - row,
                "before": word.before_deg,
                "after": word.after_deg,
                "name": shorten(label, 30),
                "turn": -90 if float(word.after_deg or 0) < float(word.before_deg or 0) else 90,
                "closer": float(word.after_deg or 0) < float(word.before_deg or 0),
            }
        )
    scale = alt.Scale(domain=domain([r[k] for r in rows for k in ("before", "after")], 0.08), nice=False, zero=False)
    levels = alt.Scale(domain=[0.4, len(rows) + 0.6], nice=False, zero=False)
    y = alt.Y("y:Q", axis=None, scale=levels)
    colour = alt.condition("datum.closer", alt.value(BLUE), alt.value(VERMILLION))

    def x(field: str) -> Any:
        return alt.X(f"{field}:Q", title="angle to the concept's text, degrees", scale=scale)

    base = alt.Chart(data(rows))
    layers = [
        base.mark_rule(strokeWidth=2).encode(x("before"), y, x2="after:Q", color=colour),
        base.mark_point(size=60, filled=False, strokeWidth=2).encode(x("before"), y, color=colour),
        base.mark_point(size=90, filled=True, shape="triangle", opacity=1).encode(
            x("after"), y, color=colour, angle=alt.Angle("turn:Q", scale=None)
        ),
        base.mark_text(align="right", dx=-10).encode(x=alt.value(0), y=y, text="name:N"),
    ]
    height = max(70, 26 * len(rows))
    chart = alt.layer(*layers).properties(width=300, height=height)
    return to_svg(chart, f"Angles to concepts before and after removal, {len(rows)} concepts")
