"""Charts of a comparison: AS against IS with covariance ellipses, and bars of the ratio (the paper's Figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

from singaudit.report.pages.charts import outline
from singaudit.report.pages.text import shorten
from singaudit.report.pages.vega import (
    BLUE,
    GREEN,
    GRID,
    INK,
    ORANGE,
    TEXT,
    VERMILLION,
    Spec,
    chart,
    domain,
    labels,
    layer,
    quantity,
    scale,
    to_svg,
)
from singaudit.report.result.base import Statistic
from singaudit.report.result.scores import ScatterPart

COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, "#CC79A7", "#56B4E9", "#8a94a0", "#F0E442")
"""One a model, told apart by colour-blind readers; beyond eight they repeat, numbers do not."""
_POINTS = 250


def ellipses(scatters: Sequence[ScatterPart | None]) -> str | None:
    """IS against AS of all models: an ellipse of one standard deviation each, its number at the mean (degrees)."""
    known = [(i, s) for i, s in enumerate(scatters) if s is not None and s.image_score_deg]
    if not known:
        return None
    outlines = {i: outline(s.mean, s.covariance) for i, s in known}
    points = {i: list(zip(s.attribute_score_deg, s.image_score_deg, strict=True))[:_POINTS] for i, s in known}
    xs = [p["x"] for o in outlines.values() for p in o] + [x for p in points.values() for x, _ in p]
    ys = [p["y"] for o in outlines.values() for p in o] + [y for p in points.values() for _, y in p]
    plane = {
        "x": quantity("x", "AS toward the class, degrees", scale(domain(xs))),
        "y": quantity("y", "IS, degrees", scale(domain(ys))),
    }
    order = {"order": {"field": "i", "type": "quantitative"}}
    number = {"text": {"field": "n", "type": "nominal"}}
    layers: list[Spec] = []
    for i, s in known:
        colour = COLOURS[i % len(COLOURS)]
        dots = [{"x": round(a, 3), "y": round(b, 3)} for a, b in points[i]]
        mean = [{"x": s.mean[0], "y": s.mean[1], "n": str(i + 1)}]
        layers += [
            layer(dots, "circle", plane, size=10, color=colour, opacity=0.25),
            layer(outlines[i], "line", plane | order, color=colour, strokeWidth=2.5),
            layer(mean, "circle", plane, size=320, color=colour, opacity=1),
            layer(mean, "text", plane | number, color="white", fontSize=TEXT, fontWeight=700),
        ]
    return to_svg(
        chart(layers, 440, 300), f"Ellipses of IS against AS of {len(known)} models, numbered as in the table"
    )


def bars(names: Sequence[str], values: Sequence[Statistic | None], title: str, zero_line: bool = False) -> str | None:
    """A bar a model with its interval; numbered as in the table."""
    rows = [
        {"y": len(names) - i, "v": v.value, "low": v.low, "high": v.high, "name": f"{i + 1}  {shorten(name, 26)}",
         "colour": COLOURS[i % len(COLOURS)]}
        for i, (name, v) in enumerate(zip(names, values, strict=True)) if v is not None
    ]  # fmt: skip
    if not rows:
        return None
    bounds = [float(r[k]) for r in rows for k in ("low", "high")] + [0.0]  # type: ignore[arg-type]
    across = scale(domain(bounds, 0.03), zero=True)
    y = quantity("y", "", scale([0.4, len(names) + 0.6]), axis=None)
    colour = {"color": {"field": "colour", "type": "nominal", "scale": None}}
    value, low = quantity("v", title, across), quantity("low", title, across)
    layers: list[Spec] = [
        layer(rows, "bar", {"x": value, "x2": {"datum": 0}, "y": y} | colour, size=14, opacity=0.85),
        layer(rows, "rule", {"x": low, "x2": {"field": "high"}, "y": y}, strokeWidth=3, color=INK),
        labels(rows, y),
    ]
    if zero_line:
        layers.append(layer([{"v": 0.0}], "rule", {"x": value}, color=GRID))
    return to_svg(chart(layers, 320, max(60, 30 * len(names))), f"Bars: {title}, {len(rows)} models")
