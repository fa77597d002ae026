"""Which pictures a report shows, in which order, and how they are grouped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from singaudit.report.result.audit import AuditResult
from singaudit.report.result.image import ImageResult
from singaudit.report.result.pictures import PicturePart, SearchPart

_ORDER = ("refined", "natural pair", "decoded", "neighbour")
_KINDS = {"refined": "equivalents", "decoded": "decoded", "natural pair": "natural pairs", "neighbour": "neighbours"}


def picture_context(result: AuditResult | ImageResult, limit: int, paper: bool = False) -> dict[str, Any]:
    """What the templates read about pictures, at most ``limit`` pairs: equivalents that keep the class first, then
    natural pairs, then what was retrieved, failures last; ``paper`` leaves out what has no second picture."""
    pictures = ranked_pictures(result.pictures)
    if paper:
        pictures = [p for p in pictures if p.other_thumbnail]
    pictures = pictures[:limit]
    return {
        "pictures": pictures,
        "decoding": result.decoding if isinstance(result, AuditResult) else None,
        "picture_group": picture_group,
        "no_pair": no_pair,
        "picture_classes": sorted({p.class_name for p in pictures}),
        "picture_groups": list(dict.fromkeys(picture_group(p) for p in pictures)),
    }


def ranked_pictures(pictures: Sequence[PicturePart]) -> list[PicturePart]:
    """Equivalents that keep the class first, then natural pairs, then what was drawn or retrieved, failures last."""
    return sorted(pictures, key=lambda p: (p.success is False, p.top1_kept is False, _ORDER.index(p.kind)))


def picture_group(picture: PicturePart) -> str:
    """Kind and concept group, as the filter names them."""
    return f"{_KINDS[picture.kind]}: {picture.group}" if picture.group else _KINDS[picture.kind]


def no_pair(search: SearchPart) -> str:
    """What a search that found no natural pair says."""
    within = f"within {search.tolerance:g} standard deviations each"
    apart = f"null components more than {search.min_null:g} typical norms apart"
    if search.nearest is None:
        return f"No two of {search.images:,} images have matching logits ({within}) and {apart}."
    return (
        f"None of {search.images:,} images has the photo's logits ({within}) and {apart}; of those that far apart, the "
        f"nearest is {search.nearest:.2g} standard deviations away."
    )
