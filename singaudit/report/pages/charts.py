"""The report's charts: Altair specifications drawn to static SVG, the same for HTML and PDF.

User text enters only as data values, never as an expression. Colours are explicit (Okabe and Ito's palette, safe for
colour-blind readers) because a document's CSS does not reach inline SVG in the PDF.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np

from singaudit.report.pages.drawing import draw
from singaudit.report.pages.text import shorten
from singaudit.report.result.model import GeometryPart
from singaudit.report.result.scores import ClassPart, ControlScore, ScatterPart

BLUE, ORANGE, VERMILLION, GREEN = "#0072B2", "#E69F00", "#D55E00", "#009E73"
INK, GRID = "#55606b", "#8a94a0"
_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
_SVG = "http://www.w3.org/2000/svg"
_TAGS = {f"{{{_SVG}}}{name}" for name in ("svg", "g", "path", "rect", "line", "circle", "text", "tspan")}
_DOT = re.compile(r"M([\d.]+),0A\1,\1,0,1,1,-\1,0A\1,\1,0,1,1,\1,0")
_AT = re.compile(r"translate\((-?[\d.]+),(-?[\d.]+)\)")
_UNDRAWN = (
    f'<svg xmlns="{_SVG}" viewBox="0 0 520 40"><text x="4" y="24" font-family="{_FONT}" font-size="13" fill="{INK}">'
    "This chart could not be drawn on the machine; result.json holds its numbers.</text></svg>"
)
_MAX_POINTS = 2000  # more SVG points make the PDF slow without showing more
_MAX_VIOLINS = 20


def to_svg(chart: Any, label: str) -> str:
    """Draw an Altair chart as an SVG element with ``label`` as its accessible name.

    Only drawing elements survive, without ids, style or event attributes: several charts share one page with a
    strict content security policy.
    """
    # The tests validate every specification; doing so again in each audit takes longer than drawing it.
    spec = chart.configure(**_config()).to_dict(validate=False)
    drawn = draw(spec)
    root = ElementTree.fromstring(drawn if drawn is not None else _UNDRAWN)
    _keep_drawing(root)
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    root.set("role", "img")
    root.set("aria-label", label)
    ElementTree.register_namespace("", _SVG)
    return ElementTree.tostring(root, encoding="unicode")


def _keep_drawing(node: ElementTree.Element) -> None:
    for child in list(node):
        if child.tag in _TAGS:
            _keep_drawing(child)
        else:
            node.remove(child)
    for name, value in list(node.attrib.items()):
        if (
            name in ("id", "class", "role", "style", "href", "pointer-events")
            or name.startswith(("on", "aria-", "{"))
            or "url(" in value
        ):
            del node.attrib[name]
        elif name in ("d", "transform", "x", "y", "x1", "x2", "y1", "y2", "width", "height"):
            # A hundredth of a pixel is enough, and halves the file.
            node.set(name, re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", value))
    _simplify_dots(node)


def _simplify_dots(node: ElementTree.Element) -> None:
    """Dots drawn as two arcs each become circles, and what they have in common is said once, on their group: thousands
    of them take a third of the bytes, and of the PDF's time."""
    dots = [(child, _DOT.fullmatch(child.get("d", "")), _AT.fullmatch(child.get("transform", ""))) for child in node]
    if len(dots) < 2 or not all(child.tag == f"{{{_SVG}}}path" and shape and at for child, shape, at in dots):
        return
    for child, shape, at in dots:
        assert shape is not None
        assert at is not None
        del child.attrib["d"], child.attrib["transform"]
        child.tag = f"{{{_SVG}}}circle"
        child.attrib.update({"cx": at[1], "cy": at[2], "r": shape[1]})
    for name, value in list(node[0].attrib.items()):
        # Opacity of a group is that of the whole, not of each dot.
        if name in ("fill", "stroke", "stroke-width") and all(child.get(name) == value for child in node):
            node.set(name, value)
            for child in node:
                del child.attrib[name]


def _config() -> dict[str, Any]:
    axis = {
        "labelColor": INK, "titleColor": INK, "labelFontSize": 13, "titleFontSize": 13, "titleFontWeight": 600,
        "gridColor": GRID, "gridOpacity": 0.25, "domainColor": GRID, "tickColor": GRID, "titlePadding": 8,
        "labelFont": _FONT, "titleFont": _FONT,
    }  # fmt: skip
    legend = {"labelColor": INK, "labelFont": _FONT, "labelFontSize": 12, "title": None, "orient": "top"}
    return {
        "font": _FONT,
        "background": "transparent",
        "view": {"stroke": None},
        "axis": axis,
        "legend": legend,
        "aria": False,
        "text": {"font": _FONT, "fontSize": 13, "color": INK},
    }


def data(rows: list[dict[str, Any]]) -> Any:
    """Rows as Altair takes them, inline; as a plain object, because its own class looks at each value several times."""
    return {"values": rows}


def domain(values: Sequence[float], pad: float = 0.05) -> list[float]:
    """A range that holds ``values`` with some room at both ends."""
    low, high = min(values), max(values)
    margin = (high - low) * pad or abs(high) * pad or 1.0
    return [low - margin, high + margin]


def scatter(points: ScatterPart, across: ControlScore | None, up: ControlScore | None) -> str:
    """IS against AS per image, the covariance ellipse, and where random subspaces put the means (degrees)."""
    import altair as alt

    x, y = points.attribute_score_deg[:_MAX_POINTS], points.image_score_deg[:_MAX_POINTS]
    ellipse = outline(points.mean, points.covariance)
    band = [] if across is None else [across.control_low, across.control_high]
    band_up = [] if up is None else [up.control_low, up.control_high]
    x_scale = alt.Scale(domain=domain([*x, *band, *(p["x"] for p in ellipse)]), nice=False, zero=False)
    y_scale = alt.Scale(domain=domain([*y, *band_up, *(p["y"] for p in ellipse)]), nice=False, zero=False)
    signed = bool(x) and min(x) < 0
    horizontal = alt.X(
        "x:Q", title="AS toward the class, degrees" if signed else "|AS| toward the class, degrees", scale=x_scale
    )
    vertical = alt.Y("y:Q", title="IS, degrees", scale=y_scale)
    rows = [{"x": round(a, 3), "y": round(b, 3)} for a, b in zip(x, y, strict=True)]
    layers = [
        alt.Chart(data(rows)).mark_circle(size=16, color=BLUE, opacity=0.4).encode(horizontal, vertical),
        alt.Chart(data(ellipse))
        .mark_line(color=BLUE, strokeWidth=2)
        .encode(horizontal, vertical, order=alt.Order("i:Q")),
        alt.Chart(data([{"x": points.mean[0], "y": points.mean[1]}]))
        .mark_point(shape="diamond", filled=True, size=120, color=BLUE, stroke="white", strokeWidth=1.5, opacity=1)
        .encode(horizontal, vertical),
    ]
    layers += _control_layers(across, up, x_scale, y_scale)
    return to_svg(alt.layer(*layers).properties(width=480, height=300), "Scatter of IS against AS, one dot per image")


def _control_layers(across: ControlScore | None, up: ControlScore | None, x_scale: Any, y_scale: Any) -> list[Any]:
    """The control's 95 % range: a box where it is known for both scores, else a band."""
    import altair as alt

    if across is None and up is None:
        return []
    row: dict[str, float] = {}
    channels: dict[str, Any] = {}
    if across is not None:
        row |= {"x": across.control_low, "x2": across.control_high}
        channels |= {"x": alt.X("x:Q", scale=x_scale), "x2": "x2:Q"}
    if up is not None:
        row |= {"y": up.control_low, "y2": up.control_high}
        channels |= {"y": alt.Y("y:Q", scale=y_scale), "y2": "y2:Q"}
    box = alt.Chart(data([row])).mark_rect(color=ORANGE, opacity=1, fillOpacity=0.3, stroke=VERMILLION, strokeWidth=1.5)
    return [box.encode(**channels)]


def outline(mean: Sequence[float], covariance: Sequence[Sequence[float]]) -> list[dict[str, float]]:
    """The outline one standard deviation around ``mean`` (2,), by the Cholesky factor of ``covariance`` (2, 2)."""
    values, vectors = np.linalg.eigh(np.asarray(covariance, dtype=np.float64))
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    turn = np.linspace(0.0, 2 * math.pi, 73)
    outline = np.asarray(mean)[:, None] + root @ np.stack([np.cos(turn), np.sin(turn)])
    return [{"x": float(a), "y": float(b), "i": i} for i, (a, b) in enumerate(outline.T)]


def violins(classes: Sequence[ClassPart]) -> str:
    """Distribution of AS over a class's images (degrees), at most 20 classes, in the order given."""
    import altair as alt

    shown = [c for c in classes if len(c.quantiles_deg) == 21][:_MAX_VIOLINS]
    areas: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for row, part in enumerate(shown):
        q, level = part.quantiles_deg, len(shown) - row
        areas += [
            {"c": row, "x": a, "low": level - 0.42 * d, "high": level + 0.42 * d}
            for a, d in zip(*_density(q), strict=True)
        ]
        boxes.append({"y": level, "p5": q[1], "p25": q[5], "p50": q[10], "p75": q[15], "p95": q[19]})
        boxes[-1]["name"] = shorten(part.name, 26)
    scale = alt.Scale(domain=domain([a["x"] for a in areas], 0.02), nice=False, zero=False)
    levels = alt.Scale(domain=[0.4, len(shown) + 0.6], nice=False, zero=False)
    y = alt.Y("y:Q", axis=None, scale=levels)

    def across(field: str) -> Any:
        return alt.X(f"{field}:Q", title="AS toward the class, degrees", scale=scale)

    body = alt.Chart(data(areas)).mark_area(color=BLUE, opacity=0.35)
    base = alt.Chart(data(boxes))
    layers = [
        body.encode(across("x"), alt.Y("low:Q", axis=None, scale=levels), y2="high:Q", detail="c:N"),
        base.mark_rule(color=BLUE).encode(across("p5"), y, x2="p95:Q"),
        base.mark_rule(color=BLUE, strokeWidth=5).encode(across("p25"), y, x2="p75:Q"),
        base.mark_circle(color="white", size=26, opacity=1, stroke=BLUE).encode(across("p50"), y),
        base.mark_text(align="right", dx=-8).encode(x=alt.value(0), y=y, text="name:N"),
    ]
    height = max(60, 26 * len(shown))
    return to_svg(alt.layer(*layers).properties(width=420, height=height), "Distribution of AS per class")


def _density(quantiles: Sequence[float]) -> tuple[list[float], list[float]]:
    """A smooth density, peak 1, over the range of 21 quantiles."""
    q = np.asarray(quantiles, dtype=np.float64)
    sample = np.interp(np.linspace(0, 100, 101), np.linspace(0, 100, 21), q)
    width = max(0.9 * min(float(sample.std()), float(q[15] - q[5]) / 1.34 or float(sample.std())) * 101**-0.2, 1e-3)
    grid = np.linspace(q[0], q[-1], 41)
    density = np.exp(-0.5 * ((grid[:, None] - sample[None, :]) / width) ** 2).sum(axis=1)
    return [round(float(v), 4) for v in grid], [round(float(v), 4) for v in density / density.max()]


def spectrum(geometry: GeometryPart) -> str:
    """Singular values on a log scale, the cut-off, and the dimensions the head ignores."""
    import altair as alt

    values = np.asarray(geometry.singular_values, dtype=np.float64)
    top = float(values.max(initial=0.0)) or 1.0
    floor = max(geometry.tolerance, top * 1e-12) / 30
    index = np.unique(np.linspace(0, max(len(values) - 1, 0), min(len(values), 600)).astype(int))
    rows = [
        {"x": int(i) + 1, "y": max(float(values[i]), floor), "kept": bool(values[i] > geometry.tolerance)}
        for i in index
    ]
    xs = alt.Scale(domain=[0.5, max(geometry.feature_dim, len(values)) + 0.5], nice=False, zero=False)
    ys = alt.Scale(type="log", domain=[floor / 2, top * 2], nice=False)
    x = alt.X("x:Q", title="dimension of feature space", scale=xs, axis=alt.Axis(tickMinStep=1, format="d"))
    y = alt.Y("y:Q", title="singular value (log)", scale=ys, axis=alt.Axis(format=".0e", tickCount=6))
    layers: list[Any] = []
    if geometry.null_dim:
        ignored = data([{"x": geometry.rank + 0.5, "x2": geometry.feature_dim + 0.5}])
        layers.append(alt.Chart(ignored).mark_rect(color=ORANGE, opacity=0.22).encode(x, x2="x2:Q"))
    cut = data([{"y": max(geometry.tolerance, floor)}])
    kind = alt.condition("datum.kept", alt.value(BLUE), alt.value(VERMILLION))
    layers += [
        alt.Chart(cut).mark_rule(color=VERMILLION, strokeDash=[5, 4], strokeWidth=1.5).encode(y),
        alt.Chart(data(rows)).mark_circle(size=18, opacity=0.9).encode(x, y, color=kind),
    ]
    return to_svg(alt.layer(*layers).properties(width=480, height=240), "Singular values of the head's weight")
