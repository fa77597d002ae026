"""Which pictures a report shows, in which order, and how they are grouped."""

from __future__ import annotations

from typing import Any

from singaudit.report.picture_parts import PicturePart
from singaudit.report.result import AuditResult

PRINTED = 6
"""Pairs on paper."""
_ORDER = ("refined", "decoded", "natural pair", "neighbour")
_KINDS = {"refined": "equivalents", "decoded": "decoded", "natural pair": "natural pairs", "neighbour": "neighbours"}


def picture_context(result: AuditResult, paper: bool) -> dict[str, Any]:
    """What the templates read about pictures; ``paper`` keeps six pairs, those that succeeded first."""
    pictures = sorted(result.pictures, key=lambda p: (_ORDER.index(p.kind), p.success is False))
    if paper:
        pictures = [p for p in pictures if p.other_thumbnail][:PRINTED]
    return {
        "pictures": pictures,
        "picture_group": picture_group,
        "picture_classes": sorted({p.class_name for p in pictures}),
        "picture_groups": list(dict.fromkeys(picture_group(p) for p in pictures)),
    }


def picture_group(picture: PicturePart) -> str:
    """Kind and concept group, as the filter names them."""
    return f"{_KINDS[picture.kind]}: {picture.group}" if picture.group else _KINDS[picture.kind]
