"""Small bars inside table rows: SVG from numbers alone, with explicit colours, stretched to the cell's width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from singaudit.report.pages.charts import BLUE, GRID, ORANGE, VERMILLION
from singaudit.report.result.base import Statistic
from singaudit.report.result.findings import FindingPart
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


def reading_bar(finding: FindingPart, domain: Domain) -> Markup:
    """How clearly an attribute is read (pale), how much of it vanishes (dark, with its interval), in degrees.

    Below it, where the control's random subspaces put what vanishes (orange).
    """
    gone, read = finding.contrast_deg, finding.margin_deg
    if gone is None or read is None:
        return _svg([_rect(0, 100, 0, 9, GRID, 0.12)])
    zero = _x(0.0, domain)
    rects = [
        _rect(0, 100, 0, 9, GRID, 0.12),
        _rect(zero, max(zero, _x(read.value, domain)), 0, 9, BLUE, 0.35),
        _rect(min(zero, _x(gone.value, domain)), max(zero, _x(gone.value, domain)), 0, 9, BLUE),
        _rect(_x(gone.low, domain), _x(gone.high, domain), 3.5, 2, "#77818c"),
    ]
    if finding.control is not None:
        low, high = _x(finding.control.control_low, domain), _x(finding.control.control_high, domain)
        rects.append(_rect(low, high, 10, 2, ORANGE))
    return _svg(rects)


def reading_domain(findings: Iterable[FindingPart]) -> Domain:
    """One scale in degrees for the reading bars of ``findings``."""
    return domain_of(
        bound
        for f in findings
        if f.margin_deg is not None and f.contrast_deg is not None
        for bound in (
            f.margin_deg.value,
            f.contrast_deg.low,
            f.contrast_deg.high,
            f.control.control_high if f.control else 0.0,
        )
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


def box(quantiles: Sequence[float], domain: Domain) -> Markup:
    """5 to 95 % as a line, quartiles as a bar, the median as a mark, from 21 quantiles; nothing without them."""
    if len(quantiles) != 21:
        return Markup("")
    p5, p25, p50, p75, p95 = (_x(quantiles[i], domain) for i in (1, 5, 10, 15, 19))
    zero = _x(0.0, domain)
    return _svg(
        [
            _rect(zero - 0.25, zero + 0.25, 0, 12, GRID, 0.6),
            _rect(p5, p95, 5.25, 1.5, BLUE, 0.7),
            _rect(p25, p75, 2.5, 7, BLUE, 0.8),
            _rect(p50 - 0.6, p50 + 0.6, 1, 10, VERMILLION),
        ]
    )
