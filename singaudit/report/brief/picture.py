"""The one picture pair of a brief: the most telling of those that a result holds."""

from __future__ import annotations

from collections.abc import Sequence

from singaudit.report.brief.model import Picture, Row
from singaudit.report.brief.words import per_cent, readable
from singaudit.report.result.audit import AuditResult, GalleryItem
from singaudit.report.result.pictures import PicturePart

_ORDER = ("refined", "natural pair", "decoded", "neighbour")
_BESIDE = {
    "refined": "equivalent",
    "natural pair": "its pair",
    "decoded": "drawn after removal",
    "neighbour": "nearest after removal",
}
NOT_EQUAL = "its logits are its own and may differ"


def picture(result: AuditResult, rows: Sequence[Row]) -> Picture | None:
    """Equivalents that keep the class first, of an ignored group before others, then natural pairs, then what was
    retrieved; None where nothing is ignored or nothing can be shown."""
    # An equivalent that shows what the logits see as well would seem to say the opposite of its row.
    seen = {row.group for row in rows if row.style in ("plain", "good")}
    ready = [
        p
        for p in result.pictures
        if p.thumbnail and p.other_thumbnail and p.success is not False and p.group not in seen
    ]
    if ready:
        ignored = [row.group for row in rows if row.style in ("bad", "warn")]
        return _pair(min(ready, key=lambda p: _rank(p, ignored)))
    retrieved = [g for g in result.gallery if g.thumbnail and g.near_equivalent and g.near_equivalent[0].thumbnail]
    return _retrieved(retrieved[0]) if retrieved else None


def _rank(p: PicturePart, ignored: Sequence[str]) -> tuple[int, bool, int, float]:
    of = ignored.index(p.group) if p.group in ignored else len(ignored)
    return _ORDER.index(p.kind), p.top1_kept is False, of, -(p.image_score_deg or 0.0)


def _pair(p: PicturePart) -> Picture:
    same = p.kind in ("refined", "natural pair")
    about = readable(p.group) if p.group else "content"
    if p.kind == "refined":
        title = f"Same logits, another {about}" if p.group else "Same logits, other content"
    else:
        title = {
            "natural pair": "Two real images, same logits",
            "decoded": "Drawn from the features, before and after removal",
        }.get(p.kind, "Before and after what is ignored is averaged out")
    turned = f" {p.value} becomes {p.target}." if p.value and p.target else ""
    sure = f"{p.predicted}"
    if p.probability is not None and p.probability_after is not None:
        sure += f" {per_cent(p.probability)} on the left, {per_cent(p.probability_after)} on the right"
    apart = (
        f"The logits differ by at most {p.logit_difference:.2g} standard deviations: {sure}."
        if same and p.logit_difference is not None
        else "A retrieved image: " + NOT_EQUAL + "."
        if p.kind == "neighbour"
        else f"The model reads {sure}."
    )
    return Picture(
        p.kind, same, title, (turned.strip()[:1].upper() + turned.strip()[1:] + " " + apart).strip(),
        p.thumbnail, p.other_thumbnail, f"Image {p.image}, read as {p.predicted}", f"{_BESIDE[p.kind]} of {p.image}",
        _BESIDE[p.kind],
        p.file, p.original_file,
    )  # fmt: skip


def _retrieved(item: GalleryItem) -> Picture:
    after = item.near_equivalent[0]
    return Picture(
        "retrieved", False, "Before and after what is ignored is averaged out",
        f"Right: the real image nearest to what is left of the reading, {item.image_score_deg:.0f}° away; {NOT_EQUAL}.",
        item.thumbnail, after.thumbnail, f"Image {item.name}, read as {item.predicted}",
        f"Nearest real image: {after.name}, {after.class_name}", "nearest after removal", None, None,
    )  # fmt: skip
