"""The charts of one audit: scores per image and class, the spectrum, angles to concepts (the paper's Figure 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from singaudit.report.pages.text import plain, shorten
from singaudit.report.pages.vega import (
    BLUE,
    ORANGE,
    VERMILLION,
    Spec,
    chart,
    domain,
    either,
    labels,
    layer,
    quantity,
    scale,
    to_svg,
)
from singaudit.report.result.model import GeometryPart
from singaudit.report.result.scores import ClassPart, ControlScore, ScatterPart
from singaudit.report.result.words import WordPart

_MAX_POINTS = 2000  # more SVG points make the PDF slow without showing more
_MAX_VIOLINS = 20
MAX_CLASSES = 6
"""Classes whose words are drawn; result.json holds all."""


def scatter(points: ScatterPart, across: ControlScore | None, up: ControlScore | None) -> str:
    """IS against AS per image, the covariance ellipse, and where random subspaces put the means (degrees)."""
    x, y = points.attribute_score_deg[:_MAX_POINTS], points.image_score_deg[:_MAX_POINTS]
    ellipse = outline(points.mean, points.covariance)
    band = [] if across is None else [across.control_low, across.control_high]
    band_up = [] if up is None else [up.control_low, up.control_high]
    signed = bool(x) and min(x) < 0
    plane = {
        "x": quantity(
            "x",
            "AS toward the class, degrees" if signed else "|AS| toward the class, degrees",
            scale(domain([*x, *band, *(p["x"] for p in ellipse)])),
        ),
        "y": quantity("y", "IS, degrees", scale(domain([*y, *band_up, *(p["y"] for p in ellipse)]))),
    }
    rows = [{"x": round(a, 3), "y": round(b, 3)} for a, b in zip(x, y, strict=True)]
    order = {"order": {"field": "i", "type": "quantitative"}}
    mean = [{"x": points.mean[0], "y": points.mean[1]}]
    layers = [
        layer(rows, "circle", plane, size=16, color=BLUE, opacity=0.4),
        layer(ellipse, "line", plane | order, color=BLUE, strokeWidth=2),
        layer(mean, "point", plane, shape="diamond", filled=True, size=120, color=BLUE, stroke="white", strokeWidth=1.5,
              opacity=1),
        *_control_layers(across, up, plane),
    ]  # fmt: skip
    return to_svg(chart(layers, 440, 290), "Scatter of IS against AS, one dot per image")


def _control_layers(across: ControlScore | None, up: ControlScore | None, plane: Spec) -> list[Spec]:
    """The control's 95 % range: a box where it is known for both scores, else a band."""
    if across is None and up is None:
        return []
    row: dict[str, float] = {}
    ends: Spec = {}
    if across is not None:
        row |= {"x": across.control_low, "x2": across.control_high}
        ends |= {"x": plane["x"], "x2": {"field": "x2"}}
    if up is not None:
        row |= {"y": up.control_low, "y2": up.control_high}
        ends |= {"y": plane["y"], "y2": {"field": "y2"}}
    look = {"color": ORANGE, "opacity": 1, "fillOpacity": 0.3, "stroke": VERMILLION, "strokeWidth": 1.5}
    return [layer([row], "rect", ends, **look)]


def outline(mean: Sequence[float], covariance: Sequence[Sequence[float]]) -> list[dict[str, float]]:
    """The outline one standard deviation around ``mean`` (2,), by the Cholesky factor of ``covariance`` (2, 2)."""
    values, vectors = np.linalg.eigh(np.asarray(covariance, dtype=np.float64))
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    turn = np.linspace(0.0, 2 * math.pi, 73)
    outline = np.asarray(mean)[:, None] + root @ np.stack([np.cos(turn), np.sin(turn)])
    return [{"x": float(a), "y": float(b), "i": i} for i, (a, b) in enumerate(outline.T)]


def violins(classes: Sequence[ClassPart]) -> str:
    """Distribution of AS over a class's images (degrees), at most 20 classes, in the order given."""
    shown = [c for c in classes if len(c.quantiles_deg) == 21][:_MAX_VIOLINS]
    areas: list[Spec] = []
    boxes: list[Spec] = []
    for row, part in enumerate(shown):
        q, level = part.quantiles_deg, len(shown) - row
        areas += [
            {"c": row, "x": a, "low": level - 0.42 * d, "high": level + 0.42 * d}
            for a, d in zip(*_density(q), strict=True)
        ]
        boxes.append({"y": level, "p5": q[1], "p25": q[5], "p50": q[10], "p75": q[15], "p95": q[19]})
        boxes[-1]["name"] = shorten(part.name, 26)
    degrees, levels = scale(domain([a["x"] for a in areas], 0.02)), scale([0.4, len(shown) + 0.6])

    def across(field: str) -> Spec:
        return quantity(field, "AS toward the class, degrees", degrees)

    y = quantity("y", "", levels, axis=None)
    body = {"x": across("x"), "y": y | {"field": "low"}, "y2": {"field": "high"}}
    layers = [
        layer(areas, "area", body | {"detail": {"field": "c", "type": "nominal"}}, color=BLUE, opacity=0.35),
        layer(boxes, "rule", {"x": across("p5"), "x2": {"field": "p95"}, "y": y}, color=BLUE),
        layer(boxes, "rule", {"x": across("p25"), "x2": {"field": "p75"}, "y": y}, color=BLUE, strokeWidth=5),
        layer(boxes, "circle", {"x": across("p50"), "y": y}, color="white", size=26, opacity=1, stroke=BLUE),
        labels(boxes, y),
    ]
    return to_svg(chart(layers, 320, max(60, 26 * len(shown))), "Distribution of AS per class")


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
    values = np.asarray(geometry.singular_values, dtype=np.float64)
    top = float(values.max(initial=0.0)) or 1.0
    floor = max(geometry.tolerance, top * 1e-12) / 30
    index = np.unique(np.linspace(0, max(len(values) - 1, 0), min(len(values), 600)).astype(int))
    rows = [
        {"x": int(i) + 1, "y": max(float(values[i]), floor), "kept": bool(values[i] > geometry.tolerance)}
        for i in index
    ]
    across = scale([0.5, max(geometry.feature_dim, len(values)) + 0.5])
    x = quantity("x", "dimension of feature space", across, axis={"tickMinStep": 1, "format": "d"})
    up = {"type": "log", "domain": [floor / 2, top * 2], "nice": False}
    y = quantity("y", "singular value (log)", up, axis={"format": ".0e", "tickCount": 6})
    layers: list[Spec] = []
    if geometry.null_dim:
        ignored = [{"x": geometry.rank + 0.5, "x2": geometry.feature_dim + 0.5}]
        layers.append(layer(ignored, "rect", {"x": x, "x2": {"field": "x2"}}, color=ORANGE, opacity=0.22))
    cut = [{"y": max(geometry.tolerance, floor)}]
    layers += [
        layer(cut, "rule", {"y": y}, color=VERMILLION, strokeDash=[5, 4], strokeWidth=1.5),
        layer(rows, "circle", {"x": x, "y": y, "color": either("kept", BLUE, VERMILLION)}, size=18, opacity=0.9),
    ]
    return to_svg(chart(layers, 430, 230), "Singular values of the head's weight")


def telling_classes(classes: Sequence[ClassPart]) -> list[ClassPart]:
    """The classes whose confirmed words change most, largest first."""
    ready = [c for c in classes if any(_drawn(w) for w in c.words)]
    ready.sort(key=lambda c: -max(abs(w.change_deg.value) for w in c.words if w.change_deg is not None))
    return ready[:MAX_CLASSES]


def _drawn(word: WordPart) -> bool:
    return word.before_deg is not None and word.after_deg is not None and word.change_deg is not None


def word_arrows(part: ClassPart) -> str:
    """The angle to each of a class's words before (ring) and after (arrow head) mean removal, degrees."""
    words = [w for w in part.words if _drawn(w)]
    rows: list[Spec] = []
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
    degrees = scale(domain([r[k] for r in rows for k in ("before", "after")], 0.08))
    y = quantity("y", "", scale([0.4, len(rows) + 0.6]), axis=None)
    colour = {"color": either("closer", BLUE, VERMILLION)}

    def at(field: str) -> Spec:
        return {"x": quantity(field, "angle to the concept's text, degrees", degrees), "y": y} | colour

    turned = {"angle": {"field": "turn", "type": "quantitative", "scale": None}}
    layers = [
        layer(rows, "rule", at("before") | {"x2": {"field": "after"}}, strokeWidth=2),
        layer(rows, "point", at("before"), size=60, filled=False, strokeWidth=2),
        layer(rows, "point", at("after") | turned, size=90, filled=True, shape="triangle", opacity=1),
        labels(rows, y, 10),
    ]
    drawn = chart(layers, 320, max(70, 26 * len(rows)))
    return to_svg(drawn, f"Angles to concepts before and after removal, {len(rows)} of them")
