"""How names and numbers are written for people: inert text, and numbers no finer than their interval supports."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

from singaudit.report.result.audit import AuditResult
from singaudit.report.result.base import Statistic

_KEPT_FORMAT = "\u200c\u200d"  # joiners: part of ordinary Persian, Indic and emoji text
_MAX_MARKS = 4  # combining marks on one letter; more of them run over the lines above and below
_IMAGE = re.compile(r"data:image/(?:png|jpeg);base64,[A-Za-z0-9+/]+={0,2}")
_MINUS = "\u2212"


def display_text(text: str) -> str:
    """``text`` as something that can only be read.

    Line breaks and tabs become spaces; control, bidirectional-override, surrogate and other invisible characters
    become U+FFFD, so that a reader sees that something was there; stacked combining marks are cut.
    Escaping for HTML is the template's work.
    """
    if text.isascii() and text.isprintable():
        return text
    out: list[str] = []
    marks = 0
    for char in text:
        category = unicodedata.category(char)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks > _MAX_MARKS:
            continue
        if char in "\t\n\r\x0b\x0c\x85" or category in ("Zs", "Zl", "Zp"):
            out.append(" ")
        elif category in ("Cc", "Cs", "Co", "Cn") or (category == "Cf" and char not in _KEPT_FORMAT):
            out.append("\ufffd")
        else:
            out.append(char)
    return "".join(out)


def displayable(result: AuditResult) -> AuditResult:
    """A copy in which every string went through ``display_text``.

    Done once for the whole result, so that no template can forget it. A thumbnail that is not a PNG or JPEG data URI
    becomes the empty text: a result file may come from anywhere.
    """
    return AuditResult.model_validate(cleaned(result.model_dump()))


def cleaned(node: Any) -> Any:
    """``node``, plain data, with every text through ``display_text`` and every thumbnail checked."""
    if isinstance(node, str):
        return display_text(node)
    if isinstance(node, dict):
        return {
            display_text(key): (value if _IMAGE.fullmatch(value) else "") if key == "thumbnail" else cleaned(value)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [cleaned(item) for item in node]
    return node


def shorten(text: str, limit: int = 60) -> str:
    """``text`` cut to ``limit`` characters with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def plain(name: str) -> str:
    """An identifier as words: underscores become spaces."""
    return name.replace("_", " ")


def sentence(text: str) -> str:
    """``text`` with a capital first letter."""
    return text[:1].upper() + text[1:]


def number(value: float, places: int | None = None) -> str:
    """``value`` with ``places`` decimals; without, about three significant digits. Thousands are set apart."""
    if places is None:
        size = abs(value)
        if size and (size < 1e-3 or size >= 1e7):
            mantissa, exponent = f"{value:.1e}".split("e")
            return f"{mantissa}e{int(exponent)}".replace("-", _MINUS)
        if size < 0.1:
            return f"{value:.2g}".replace("-", _MINUS)
        places = 0 if size >= 100 or value == int(value) else 1 if size >= 10 else 2
    text = f"{value:,.{places}f}"
    if text.startswith("-"):
        text = text[1:] if not float(text.replace(",", "")) else _MINUS + text[1:]
    return text


def places_for(low: float, high: float, scale: float = 1.0) -> int:
    """Decimals that a value with the interval [low, high] deserves: one digit of the half-width, at most four."""
    half = abs(high - low) * scale / 2
    if half == 0:
        return 1 if scale == 100 else 2
    return min(4, max(1, -math.floor(math.log10(half) + 1e-9)))


def parts(stat: Statistic, unit: str = "") -> dict[str, str]:
    """A statistic as texts: ``value``, ``interval`` and ``n``. ``unit`` is "", "°" or "%" (the value is a share)."""
    scale = 100.0 if unit == "%" else 1.0
    places = places_for(stat.low, stat.high, scale)
    suffix = "\u202f%" if unit == "%" else unit
    low, high = number(stat.low * scale, places), number(stat.high * scale, places)
    return {
        "value": number(stat.value * scale, places) + suffix,
        "interval": f"[{low}, {high}]",
        "n": f"n\u00a0{stat.n:,}",
    }


def share(value: float) -> str:
    """A share 0 to 1 as per cent."""
    return number(100 * value, 1 if 0 < value < 1 else 0) + "\u202f%"
