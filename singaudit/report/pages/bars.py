"""Small bars inside table rows: SVG from numbers alone, with explicit colours, stretched to the cell's width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from singaudit.report.brief.model import Bar
from singaudit.report.pages.vega import BLUE, GRID, ORANGE, VERMILLION
from singaudit.report.result.base import Statistic
from singaudit.report.result.scores import ControlScore

Domain = tuple[float, float]


def domain_of(values: Iterable[float], zero: bool = True) -> Domain:
    """The range that holds all ``values``, and 0 unless told otherwise, never empty."""
    known = [*values, *([0.0] if zero else [])] or [0.0]
    low, high = min(known), max(known)
    return (low, high) if high > low else (low, low + 1.0)


def _x(value: float, domain: Domain) -> float:
    return 100 * min(1.0, max(0.0, (value - domain[0]) / (domain[1] - domain[0])))


def _rect(low: float, high: float, top: float, height: float, colour: str, opacity: float = 1.0) -> str:
    """A rectangle from ``low`` to ``high`` (0 to 100), at least wide enough to be seen."""
    width = max(high - low, 0.6)
    left = min(low, 100 - width)
    faint = f' fill-opacity="{opacity:g}"' if opacity < 1 else ""
    return f'<rect x="{left:.2f}" y="{top:g}" width="{width:.2f}" height="{height:g}" fill="{colour}"{faint}/>'


def _svg(rects: Sequence[str]) -> Markup:
    # Built from numbers and this module's own constants only; the numbers stand beside the bar as text.
    return Markup(
        '<svg class="bar" viewBox="0 0 100 12" width="120" height="12" preserveAspectRatio="none" '
        f'aria-hidden="true">{"".join(rects)}</svg>'
    )


def interval_bar(stat: Statistic, domain: Domain) -> Markup:
    """A bar from 0 to the value with its interval as a dark line; orange where it points below 0."""
    zero, value = _x(0.0, domain), _x(stat.value, domain)
    colour = ORANGE if stat.value < 0 else BLUE
    return _svg(
        [
            _rect(0, 100, 1, 10, GRID, 0.16),
            _rect(min(zero, value), max(zero, value), 1, 10, colour, 0.85),
            _rect(_x(stat.low, domain), _x(stat.high, domain), 4.75, 2.5, "#77818c"),
            _rect(zero, zero, 0, 12, GRID),
        ]
    )


def control_bar(score: ControlScore) -> Markup:
    """The control's 95 % range as a band, its mean, and the observed value as a mark, on a scale of their own."""
    low, high = domain_of((score.observed, score.control_low, score.control_high), zero=False)
    domain = (low - 0.12 * (high - low), high + 0.12 * (high - low))
    observed = _x(score.observed, domain)
    mean = _x(score.control_mean, domain)
    return _svg(
        [
            _rect(0, 100, 1, 10, GRID, 0.16),
            _rect(_x(score.control_low, domain), _x(score.control_high, domain), 1, 10, ORANGE, 0.6),
            _rect(mean - 0.3, mean + 0.3, 1, 10, VERMILLION),
            _rect(observed - 0.7, observed + 0.7, 0, 12, BLUE),
        ]
    )


# On paper no style sheet reaches these shapes; on a screen it may override them.
_SHARES = {"bad": "#c0392b", "warn": "#d98200", "plain": "#5b7fa6", "good": "#5b7fa6"}


def share_bar(bar: Bar, style: str) -> Markup:
    """A brief's bar from 0 to 100 %, filled to the value in the colour of its finding, with the interval as a line."""
    value, low, high = 100 * bar.value, 100 * bar.low, 100 * bar.high
    width = max(high - low, 1.0)
    return Markup(
        '<svg viewBox="0 0 100 12" width="120" height="12" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="share-track" x="0" y="1" width="100" height="10" fill="#e4e8ed"/>'
        f'<rect x="0" y="1" width="{max(value, 0.8):.1f}" height="10" fill="{_SHARES[style]}"/>'
        f'<rect class="share-range" x="{min(low, 100 - width):.1f}" y="5" width="{width:.1f}" height="2" '
        'fill="#1a2027"/></svg>'
    )
