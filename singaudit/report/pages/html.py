"""One HTML file per audit: offline, under a strict content security policy, the source of the PDF as well."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from singaudit.errors import ReportError
from singaudit.report.brief.words import share_text
from singaudit.report.pages import bars, text, view
from singaudit.report.result.audit import AuditResult

_PACKAGE = Path(__file__).resolve().parents[2]
_FOLDERS = (_PACKAGE / "templates", _PACKAGE.parent / "templates")
"""In an installed wheel, and in a source checkout."""


@cache
def environment() -> Environment:
    """The templates, with autoescaping and undefined names as errors.

    Raises ReportError when the installation has no templates.
    """
    folders = [folder for folder in _FOLDERS if (folder / "report.html.j2").is_file()]
    if not folders:
        raise ReportError(
            f"the report's templates are missing: expected them in {_FOLDERS[0]}",
            hint="Install singaudit again",
        )
    env = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(
        num=text.number, share=text.share, shorten=text.shorten, plain=text.plain, sentence=text.sentence
    )
    env.globals.update(
        parts=text.parts,
        places_for=text.places_for,
        interval_bar=bars.interval_bar,
        control_bar=bars.control_bar,
        share_bar=bars.share_bar,
        share_text=share_text,
        control_of=view.control_of,
        verdict_styles=view.VERDICTS,
        finding_styles=view.FINDINGS,
    )
    return env


def page(template: str, **values: Any) -> str:
    """Render ``template`` with the style sheet and script inline, allowed by hash and nothing else."""
    env = environment()
    style, script = asset(env, "brief.css") + asset(env, "style.css"), asset(env, "report.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return env.get_template(template).render(style=Markup(style), script=Markup(script), policy=policy, **values)


class Document:
    """The report of a result, for the screen and for paper; its charts are drawn once."""

    def __init__(self, result: AuditResult) -> None:
        self._result = text.displayable(result)
        self._figures = view.figures(self._result)

    def html(self, paper: bool = False, appendix: bool = False) -> str:
        """One HTML document that loads nothing, readable without JavaScript.

        Sections appear where the result has something for them; what was not evaluated is listed with its reason.
        ``paper`` is what the PDF is made from: eight pages at most, with ``appendix`` everything worth printing.
        Raises ReportError when the templates are missing.
        """
        return page("report.html.j2", **view.context(self._result, self._figures, paper, appendix))


def render_html(result: AuditResult, paper: bool = False) -> str:
    """The report of ``result`` as one HTML document; see ``Document``."""
    return Document(result).html(paper)


def asset(env: Environment, name: str) -> str:
    """A style sheet or script as it stands: no template, so that no text of a result can reach it."""
    assert env.loader is not None
    source = env.loader.get_source(env, name)[0]
    return source.replace("</", "<\\/") if name.endswith(".js") else source


def _hash(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
