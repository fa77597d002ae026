"""One image's page."""

from __future__ import annotations

from singaudit.report import bars
from singaudit.report.html import page
from singaudit.report.image_result import ImageResult
from singaudit.report.picture_view import picture_context
from singaudit.report.text import cleaned


def render_image(result: ImageResult) -> str:
    """The page of one image as an HTML document that loads nothing. Raises ReportError when templates are missing."""
    shown = ImageResult.model_validate(cleaned(result.model_dump()))
    words = [w.change_deg for w in (*shown.lost, *shown.gained) if w.change_deg is not None]
    return page(
        "image.html.j2", result=shown, changed=[r for r in shown.readings if r.features != r.equivalent],
        word_domain=bars.domain_of(bound for s in words for bound in (s.low, s.high)),
        **picture_context(shown, paper=False),
    )  # fmt: skip
