"""The brief as a notebook shows it: one element with its own style, no script, nothing loaded."""

from __future__ import annotations

from markupsafe import Markup

from singaudit.report.brief.make import brief_of
from singaudit.report.pages.html import asset, environment
from singaudit.report.pages.text import displayable
from singaudit.report.result.audit import AuditResult


def notebook_html(result: AuditResult) -> str:
    """HTML of a result's brief. Raises ReportError when the installation has no templates."""
    env = environment()
    body = env.get_template("brief.html.j2").render(brief=brief_of(displayable(result)), anchors=False, pictures=())
    return f'<div class="singaudit"><style>{asset(env, "brief.css")}</style>{Markup(body)}</div>'
