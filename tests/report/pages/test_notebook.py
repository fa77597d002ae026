"""What audit() returns shows its brief in a notebook."""

from report_factory import HOSTILE, full

from singaudit.pipeline.audit import Audit
from singaudit.report.brief.make import brief_of


def test_a_notebook_shows_the_brief_and_nothing_foreign() -> None:
    html = Audit(full(), {})._repr_html_()
    for expected in ("Do not ship as it is", "What the head ignores", "What to do next", "NEW_MODEL"):
        assert expected in html
    assert brief_of(full()).sentence in html.replace("&lt;", "<")
    assert "<script" not in html
    assert html.count("<style>") == 1
    hostile = Audit(full(HOSTILE), {})._repr_html_()
    assert "<script" not in hostile
    assert "\u202e" not in hostile
