"""summary.md: the brief as Markdown, for a job's summary, a comment, or a mail."""

from __future__ import annotations

from collections.abc import Iterator

from singaudit.report.brief.make import brief_of
from singaudit.report.formats.interface import Files, Pages
from singaudit.report.pages.markdown_text import code, prose, table
from singaudit.report.pages.text import parts, shorten
from singaudit.report.pages.view import shown_findings
from singaudit.report.result.audit import AuditResult
from singaudit.report.result.base import Statistic

MAX_CHARACTERS = 60_000
"""A comment takes 65,536."""
MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️", "waived": "⏸️", "no gates set": "⚪"}
WORDS = {"pass": "Pass", "fail": "Fail", "inconclusive": "Inconclusive", "no gates set": "No gates set"}
_ORDER = ("fail", "inconclusive", "waived", "pass")
_MAX_GATES = 40
_MAX_GROUPS = 6
_MAX_STEPS = 3
_MAX_CELL = 160
_CLAIMED = ("strong", "partial", "redundant", "unstable")


def render(result: AuditResult, pages: Pages, files: Files) -> dict[str, bytes]:
    """The brief under the name summary.md."""
    return {"summary.md": summary(pages.shown).encode("utf-8", errors="replace")}


def summary(shown: AuditResult) -> str:
    """The brief of a result whose texts are inert: verdict, gates, what is ignored, the instrument, what to do next."""
    blocks = ["\n".join(headline(shown, "##")), "\n".join(gates(shown)), "\n".join(findings(shown)),
              "\n".join(instrument(shown)), "\n".join(steps(shown)), _footer(shown)]  # fmt: skip
    text = ""
    for block in filter(None, blocks):
        if len(text) + len(block) > MAX_CHARACTERS - 200:
            text += "\n_Cut here: report.html holds the rest._\n"
            break
        text += ("\n" if text else "") + block + "\n"
    return text


def headline(shown: AuditResult, heading: str) -> Iterator[str]:
    """Word, model and the verdict's sentence."""
    v = shown.verdict
    model = code(shorten(shown.model.name, 100), cell=False)
    yield f"{heading} {MARKS[v.status]} singaudit: {WORDS[v.status]}, {model}"
    yield ""
    yield f"**{prose(shorten(v.sentence, 600))}**"
    reasons = v.reasons[:_MAX_STEPS] if v.status == "inconclusive" else []
    if reasons:
        yield ""
        yield from (f"- {prose(shorten(reason, 400))}" for reason in reasons)


def gates(shown: AuditResult, heading: str = "###", most: int = _MAX_GATES) -> Iterator[str]:
    """A row a gate, those that did not pass first."""
    if not shown.gates:
        return
    ranked = sorted(shown.gates, key=lambda g: _ORDER.index(g.status))
    yield f"{heading} Gates"
    yield ""
    rows = []
    for gate in ranked[:most]:
        name = "" if gate.name is None else prose(shorten(gate.name, _MAX_CELL)) + "<br>"
        rows.append([f"{MARKS[gate.status]} {gate.status}", name + code(shorten(gate.rule, _MAX_CELL)),
                     prose(shorten(gate.found, 80)), prose(shorten(gate.reason, 300))])  # fmt: skip
    yield from table(("", "Gate", "Found", "Why"), rows)
    if len(ranked) > most:
        yield ""
        yield f"{len(ranked) - most} more gates stand in report.html."


def findings(shown: AuditResult, heading: str = "###") -> Iterator[str]:
    """What is ignored, worst first; groups of which nothing can be said share one line."""
    if not shown.findings:
        return
    ranked, _ = shown_findings(shown)
    claimed = [f for f in ranked if f.finding in _CLAIMED]
    silent = [f for f in ranked if f.finding == "cannot tell"]
    yield f"{heading} What the head ignores"
    yield ""
    rows = [
        [prose(shorten(f.group, 60)), f"**{f.finding}**" if f.finding in ("strong", "partial") else f.finding,
         _share(f.carried_share), prose(shorten(f.sentence, 300))]
        for f in claimed[:_MAX_GROUPS]
    ]  # fmt: skip
    if rows:
        yield from table(("Group", "Finding", "Carried by the null space", "In words"), rows)
    else:
        yield "No concept group was found to be carried by the null space alone."
    if len(claimed) > _MAX_GROUPS:
        yield ""
        yield f"{len(claimed) - _MAX_GROUPS} more groups stand in report.html."
    if silent:
        yield ""
        yield f"Cannot tell: {', '.join(prose(shorten(f.group, 60)) for f in silent[:12])}."


def instrument(shown: AuditResult, heading: str = "###") -> Iterator[str]:
    """What every number rests on."""
    rows = []
    if shown.encoder is not None:
        rows.append(f"language model: {prose(shorten(shown.encoder.name, 100))}")
    if shown.data is not None:
        used = f"images: {shown.data.audit.used:,}"
        rows.append(used if shown.data.accuracy is None else f"{used}, accuracy {_share(shown.data.accuracy)}")
    if shown.translator is not None:
        rows.append(f"translator: R² {prose(_text(shown.translator.r2))}")
    if shown.certificate is not None:
        rows.append(f"shadow copy: {shown.certificate.status}")
    if rows or shown.not_evaluated:
        yield f"{heading} What this rests on"
        yield ""
        yield from (f"- {row}" for row in rows)
        yield from (f"- {prose(shorten(text, 400))}" for text in shown.not_evaluated[:_MAX_STEPS])


def steps(shown: AuditResult, heading: str = "###") -> Iterator[str]:
    """What to do next: at most three commands."""
    found = brief_of(shown).steps[:_MAX_STEPS]
    if found:
        yield f"{heading} What to do next"
        yield ""
        for i, step in enumerate(found, 1):
            yield f"{i}. {prose(step.why)} {code(shorten(step.command, 2000), cell=False)}"


def _footer(shown: AuditResult) -> str:
    version = shown.reproduce.versions.get("singaudit", "")
    return f"<sub>singaudit {prose(version)}, model sha256 {code(shown.model.sha256[:16], cell=False)}</sub>"


def _text(s: Statistic, unit: str = "") -> str:
    shown = parts(s, unit)
    return f"{shown['value']} {shown['interval']}"


def _share(s: Statistic | None) -> str:
    return "–" if s is None else prose(_text(s, "%"))
