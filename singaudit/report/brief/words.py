"""Numbers and names as a reader takes them: shares in words where they leave 0 to 100 %, lists with an "and"."""

from __future__ import annotations

from collections.abc import Sequence

from singaudit.report.result.base import Statistic

NBSP = "\u00a0"


def readable(group: str) -> str:
    """A concept group's name for reading; the classes' own group as what it is."""
    return "the class itself" if group == "class" else group.replace("_", " ")


def listed(names: Sequence[str], limit: int = 3) -> str:
    """Names as they stand in a sentence: "a, b and c", or "a, b, c and 4 more"."""
    shown = list(names[:limit])
    if len(names) > limit:
        shown.append(f"{len(names) - limit} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""


def per_cent(value: float) -> str:
    """A share as per cent, without decimals; one that leaves 0 to 1 in words."""
    if value > 1.005:
        return "all"
    if value < -0.005:
        return "none"
    return f"{100 * value:.0f}{NBSP}%".replace("-", "")


def share_text(s: Statistic) -> str:
    """A share with its 95 % interval, cut to 0 to 100 %; one outside of it in words."""
    low, high = (min(100.0, max(0.0, 100 * v)) for v in (s.low, s.high))
    value = per_cent(s.value)
    unit = "" if value.endswith("%") else f"{NBSP}%"  # a word has none, and the interval alone would be bare numbers
    return f"{value} [{low:.0f}, {high:.0f}{unit}]"


def small_share(value: float) -> str:
    """A share that may be far below 1 %, as that of chance among many classes: with a decimal there."""
    return per_cent(value) if value >= 0.01 or value < 0.0005 else f"{100 * value:.1f}{NBSP}%"


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
