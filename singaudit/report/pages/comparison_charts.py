"""Charts of a comparison: AS against IS with covariance ellipses, and bars of the ratio (the paper's Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from singaudit.report.pages.charts import BLUE, GREEN, ORANGE, VERMILLION, data, domain, outline, to_svg
from singaudit.report.pages.text import shorten
from singaudit.report.result.base import Statistic
from singaudit.report.result.scores import ScatterPart

COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, "#CC79A7", "#56B4E9", "#8a94a0", "#F0E442")
"""One a model, told apart by colour-blind readers; beyond eight they repeat, numbers do not."""
_POINTS = 250


def ellipses(scatters: Sequence[ScatterPart | None]) -> str | None:
    """IS against AS of all models: an ellipse of one standard deviation each, its number at the mean (degrees)."""
    import altair as alt

    known = [(i, s) for i, s in enumerate(scatters) if s is not None and s.image_score_deg]
    if not known:
        return None
    outlines = {i: outline(s.mean, s.covariance) for i, s in known}
    points = {i: list(zip(s.attribute_score_deg, s.image_score_deg, strict=True))[:_POINTS] for i, s in known}
    xs = [p["x"] for o in outlines.values() for p in o] + [x for p in points.values() for x, _ in p]
    ys = [p["y"] for o in outlines.values() for p in o] + [y for p in points.values() for _, y in p]
    x = alt.X("x:Q", title="AS toward the class, degrees", scale=alt.Scale(domain=domain(xs), nice=False, zero=False))
    y = alt.Y("y:Q", title="IS, degrees", scale=alt.Scale(domain=domain(ys), nice=False, zero=False))
    layers: list[Any] = []
    for i, s in known:
        colour = COLOURS[i % len(COLOURS)]
        dots = data([{"x": round(a, 3), "y": round(b, 3)} for a, b in points[i]])
        layers.append(alt.Chart(dots).mark_circle(size=10, color=colour, opacity=0.25).encode(x, y))
        line = alt.Chart(data(outlines[i])).mark_line(color=colour, strokeWidth=2.5)
        layers.append(line.encode(x, y, order=alt.Order("i:Q")))
        mean = alt.Chart(data([{"x": s.mean[0], "y": s.mean[1], "n": str(i + 1)}]))
        layers.append(mean.mark_circle(size=320, color=colour, opacity=1).encode(x, y))
        layers.append(mean.mark_text(color="white", fontSize=12, fontWeight=700).encode(x, y, text="n:N"))
    chart = alt.layer(*layers).properties(width=480, height=320)
    return to_svg(chart, f"Ellipses of IS against AS of {len(known)} models, numbered as in the table")


def bars(names: Sequence[str], values: Sequence[Statistic | None], title: str, zero_line: bool = False) -> str | None:
    """A bar a model with its interval; numbered as in the table."""
    import altair as alt

    rows = [
        {"y": len(names) - i, "v": v.value, "low": v.low, "high": v.high, "name": f"{i + 1}  {shorten(name, 26)}",
         "colour": COLOURS[i % len(COLOURS)]}
        for i, (name, v) in enumerate(zip(names, values, strict=True)) if v is not None
    ]  # fmt: skip
    if not rows:
        return None
    bounds = [float(r[k]) for r in rows for k in ("low", "high")] + [0.0]  # type: ignore[arg-type]
    x = alt.Scale(domain=domain(bounds, 0.03), nice=False, zero=True)
    levels = alt.Scale(domain=[0.4, len(names) + 0.6], nice=False, zero=False)
    y = alt.Y("y:Q", axis=None, scale=levels)
    base = alt.Chart(data(rows))
    layers: list[Any] = [
        base.mark_bar(size=14, opacity=0.85).encode(
            alt.X("v:Q", title=title, scale=x), y, x2=alt.X2Datum(0), color=alt.Color("colour:N", scale=None)
        ),
        base.mark_rule(strokeWidth=3, color="#55606b").encode(alt.X("low:Q", scale=x, title=title), y, x2="high:Q"),
        base.mark_text(align="right", dx=-8).encode(x=alt.value(0), y=y, text="name:N"),
    ]
    if zero_line:
        zero = alt.Chart(data([{"v": 0.0}])).mark_rule(color="#8a94a0")
        layers.append(zero.encode(alt.X("v:Q", scale=x, title=title)))
    chart = alt.layer(*layers).properties(width=380, height=max(60, 30 * len(names)))
    return to_svg(chart, f"Bars: {title}, {len(rows)} models")
