"""One image's page."""

from __future__ import annotations

from singaudit.report.brief.one_image import image_answer
from singaudit.report.pages import bars, view
from singaudit.report.pages.html import page
from singaudit.report.pages.pictures import picture_context
from singaudit.report.pages.text import cleaned
from singaudit.report.result.image import ImageResult


def render_image(result: ImageResult) -> str:
    """The page of one image as an HTML document that loads nothing. Raises ReportError when templates are missing."""
    shown = ImageResult.model_validate(cleaned(result.model_dump()))
    words = [w.change_deg for w in (*shown.lost, *shown.gained) if w.change_deg is not None]
    return page(
        "image.html.j2",
        result=shown,
        answer=image_answer(shown),
        changed=[r for r in shown.readings if r.features != r.equivalent],
        word_domain=bars.domain_of(bound for s in words for bound in (s.low, s.high)),
        **picture_context(shown, view.SCREEN.pictures),
    )
