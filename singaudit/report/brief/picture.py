"""The one picture pair of a brief: the most telling of those with the same logits."""

from __future__ import annotations

from collections.abc import Sequence

from singaudit.report.brief.model import Picture, Row
from singaudit.report.brief.words import per_cent, readable
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.pictures import PicturePart

_ORDER = ("refined", "natural pair")
_BESIDE = {"refined": "equivalent", "natural pair": "its pair"}


def picture(result: AuditResult, rows: Sequence[Row]) -> Picture | None:
    """An equivalent that keeps the class, of an ignored group before others, else a natural pair.

    None where there is neither: what was drawn or retrieved has logits of its own, and proves nothing beside a verdict.
    """
    # An equivalent that shows what the logits see as well would seem to say the opposite of its row.
    seen = {row.group for row in rows if row.style in ("plain", "good")}
    ready = [
        p
        for p in result.pictures
        if p.kind in _ORDER and p.thumbnail and p.other_thumbnail and p.success is not False and p.group not in seen
    ]
    ignored = [row.group for row in rows if row.style in ("bad", "warn")]
    labelled = result.data is not None and result.data.labels == "true"
    return _pair(min(ready, key=lambda p: _rank(p, ignored)), labelled) if ready else None


def _rank(p: PicturePart, ignored: Sequence[str]) -> tuple[int, bool, int, float]:
    of = ignored.index(p.group) if p.group in ignored else len(ignored)
    return _ORDER.index(p.kind), p.top1_kept is False, of, -(p.image_score_deg or 0.0)


def _pair(p: PicturePart, labelled: bool) -> Picture:
    about = f"another {readable(p.group)}" if p.group else "other content"
    title = f"Same logits, {about}" if p.kind == "refined" else "Two real images, same logits"
    made = "The right one is optimised from a real image that shows it; what else differs came with that image."
    made = f" {made}" if p.kind == "refined" else ""
    turned = f"{p.value[:1].upper()}{p.value[1:]} becomes {p.target}. " if p.value and p.target else ""
    sure = f"{p.predicted}" + (f", labelled {p.class_name}," if labelled and p.class_name != p.predicted else "")
    if p.probability is not None and p.probability_after is not None:
        sure += f" {per_cent(p.probability)} on the left, {per_cent(p.probability_after)} on the right"
    apart = (
        f"The logits differ by at most {p.logit_difference:.2g} standard deviations of theirs over all images: {sure}."
        if p.logit_difference is not None
        else f"The model reads {sure}."
    )
    return Picture(
        p.kind, True, title, f"{turned}{apart}{made}",
        p.thumbnail, p.other_thumbnail, f"Image {p.image}, read as {p.predicted}", f"{_BESIDE[p.kind]} of {p.image}",
        _BESIDE[p.kind], p.file, p.original_file,
    )  # fmt: skip
