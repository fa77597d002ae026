"""Vega-Lite specifications as plain objects, and their drawing to static SVG, the same for HTML and PDF.

User text enters only as data values, never as an expression. Colours are explicit (Okabe and Ito's palette, safe for
colour-blind readers) because a document's CSS does not reach inline SVG in the PDF.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from singaudit.report.pages.drawing import draw

BLUE, ORANGE, VERMILLION, GREEN = "#0072B2", "#E69F00", "#D55E00", "#009E73"
INK, GRID = "#55606b", "#8a94a0"
WIDTH = 520
"""Pixels that every chart is wide, its labels included: set equally wide, all of them have text of one size."""
TEXT = 14
"""Pixels of all text."""
LABEL_WIDTH = 170
"""Pixels that a row's label may take; longer ones end in an ellipsis."""
Spec = dict[str, Any]
_FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
_SVG = "http://www.w3.org/2000/svg"
_TAGS = {f"{{{_SVG}}}{name}" for name in ("svg", "g", "path", "rect", "line", "circle", "text", "tspan")}
_DOT = re.compile(r"M([\d.]+),0A\1,\1,0,1,1,-\1,0A\1,\1,0,1,1,\1,0")
_AT = re.compile(r"translate\((-?[\d.]+),(-?[\d.]+)\)")
_SHADES = 8
"""Paths that half-transparent dots are dealt to: so many may lie over each other and still be told apart."""
_UNDRAWN = (
    f'<svg xmlns="{_SVG}" viewBox="0 0 {WIDTH} 40">'
    f'<text x="4" y="24" font-family="{_FONT}" font-size="{TEXT}" fill="{INK}">'
    "This chart could not be drawn on the machine; result.json holds its numbers.</text></svg>"
)


def quantity(field: str, title: str, scale: Spec, **more: Any) -> Spec:
    """The encoding of a number by position: ``field`` of the data, ``title`` of its axis."""
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, **more}


def scale(bounds: Sequence[float], **more: Any) -> Spec:
    """A scale over exactly ``bounds``."""
    return {"domain": list(bounds), "nice": False, "zero": False, **more}


def either(field: str, when: str, otherwise: str) -> Spec:
    """A colour by a field that is true or false."""
    return {"condition": {"test": f"datum.{field}", "value": when}, "value": otherwise}


def layer(rows: Sequence[Spec], kind: str, encoding: Spec, **mark: Any) -> Spec:
    """Marks of one ``kind``, one for each of ``rows``."""
    return {"data": {"values": list(rows)}, "mark": {"type": kind, **mark}, "encoding": encoding}


def labels(rows: Sequence[Spec], y: Spec, away: int = 8) -> Spec:
    """The ``name`` of each row, left of the axis."""
    encoding = {"x": {"value": 0}, "y": y, "text": {"field": "name", "type": "nominal"}}
    return layer(rows, "text", encoding, align="right", dx=-away, limit=LABEL_WIDTH)


def chart(layers: Sequence[Spec], width: int, height: int) -> Spec:
    """Layers over each other, and how all charts look; ``width`` and ``height`` of the plane, pixels."""
    axis = {
        "labelColor": INK, "titleColor": INK, "labelFontSize": TEXT, "titleFontSize": TEXT, "titleFontWeight": 600,
        "gridColor": GRID, "gridOpacity": 0.25, "domainColor": GRID, "tickColor": GRID, "titlePadding": 8,
        "labelFont": _FONT, "titleFont": _FONT,
    }  # fmt: skip
    look = {
        "font": _FONT, "background": "transparent", "view": {"stroke": None}, "axis": axis, "aria": False,
        "text": {"font": _FONT, "fontSize": TEXT, "color": INK},
    }  # fmt: skip
    schema = "https://vega.github.io/schema/vega-lite/v6.json"
    return {"$schema": schema, "layer": list(layers), "width": width, "height": height, "config": look}


def domain(values: Sequence[float], pad: float = 0.05) -> list[float]:
    """A range that holds ``values`` with some room at both ends."""
    low, high = min(values), max(values)
    margin = (high - low) * pad or abs(high) * pad or 1.0
    return [low - margin, high + margin]


def to_svg(spec: Spec, label: str) -> str:
    """Draw a chart as an SVG element, ``WIDTH`` wide, with ``label`` as its accessible name.

    Only drawing elements survive, without ids, style or event attributes: several charts share one page with a
    strict content security policy.
    """
    drawn = draw(spec)
    root = ElementTree.fromstring(drawn if drawn is not None else _UNDRAWN)
    _keep_drawing(root)
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    left, top, wide, high = map(float, root.get("viewBox", f"0 0 {WIDTH} 40").split())
    root.set("viewBox", f"{left:g} {top:g} {max(wide, WIDTH):g} {high:g}")
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
    _join_dots(node)


def _join_dots(node: ElementTree.Element) -> None:
    """Dots drawn as two arcs each become points of a few paths with round ends: thousands of them take a third of the
    bytes and of the PDF's time. Dots with a line around them stay as they are."""
    dots = [(child, _DOT.fullmatch(child.get("d", "")), _AT.fullmatch(child.get("transform", ""))) for child in node]
    if len(dots) < 2 or not all(
        child.tag == f"{{{_SVG}}}path" and shape and at and child.get("stroke", "none") == "none"
        for child, shape, at in dots
    ):
        return
    alike: dict[tuple[str, ...], list[str]] = {}
    for child, shape, at in dots:
        assert shape is not None
        assert at is not None
        seen = shape[1], child.get("fill", "none"), child.get("opacity", "1")
        alike.setdefault(seen, []).append(f"M{float(at[1]):.4g},{float(at[2]):.4g}h0")
        node.remove(child)
    for (radius, colour, opacity), points in alike.items():
        paths = _SHADES if float(opacity) < 0.9 else 1
        for start in range(min(paths, len(points))):
            drawn = {"fill": "none", "stroke": colour, "stroke-width": f"{2 * float(radius):g}", "opacity": opacity}
            path = {"d": "".join(points[start::paths]), "stroke-linecap": "round", **drawn}
            node.append(ElementTree.Element(f"{{{_SVG}}}path", path))
