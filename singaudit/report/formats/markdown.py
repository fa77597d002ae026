"""summary.md: the brief as Markdown, for a job's summary, a comment, or a mail."""

from __future__ import annotations

from collections.abc import Iterator

from singaudit.report.brief.make import brief_of
from singaudit.report.brief.model import Untold
from singaudit.report.formats.checks import waivers
from singaudit.report.formats.interface import Files, Pages
from singaudit.report.pages.markdown_text import code, prose, table
from singaudit.report.pages.text import shorten
from singaudit.report.result.audit import AuditResult

MAX_CHARACTERS = 60_000
"""A comment takes 65,536."""
MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "⚠️", "waived": "⏸️", "no gates set": "⚪"}
_STATES = {"ok": "🟢", "amber": "🟡", "red": "🔴"}
_ORDER = ("fail", "inconclusive", "waived", "pass")
_MAX_GATES = 40
_MAX_WAIVERS = 20
_MAX_STEPS = 3
_MAX_NOTES = 5
_MAX_CELL = 160


def render(result: AuditResult, pages: Pages, files: Files) -> dict[str, bytes]:
    """The brief under the name summary.md."""
    return {"summary.md": summary(pages.shown).encode("utf-8", errors="replace")}


def summary(shown: AuditResult) -> str:
    """The brief of a result whose texts are inert: verdict, gates, what is ignored, the instrument, what to do next."""
    blocks = [
        "\n".join(headline(shown, "##")),
        "\n".join(gates(shown)),
        "\n".join(findings(shown)),
        "\n".join(instrument(shown)),
        "\n".join(steps(shown)),
        _footer(shown),
    ]
    text = ""
    for block in filter(None, blocks):
        if len(text) + len(block) > MAX_CHARACTERS - 200:
            text += "\n_Cut here: report.html holds the rest._\n"
            break
        text += ("\n" if text else "") + block + "\n"
    return text


def headline(shown: AuditResult, heading: str) -> Iterator[str]:
    """Word and model, the brief's sentence and how sure it is, and what a decision must not overlook."""
    brief = brief_of(shown)
    yield f"{heading} {MARKS[brief.status]} singaudit: {brief.word}, {code(shorten(brief.model, 100), cell=False)}"
    yield ""
    yield f"**{prose(shorten(brief.sentence, 600))}** {prose(shorten(brief.certainty, 600))}"
    reasons = shown.verdict.reasons[:_MAX_STEPS] if brief.status == "inconclusive" else []
    noted = [*brief.notes[:_MAX_NOTES], *reasons]
    if noted:
        yield ""
        yield from (f"- {prose(shorten(text, 400))}" for text in noted)


def gates(shown: AuditResult, heading: str = "###", most: int = _MAX_GATES) -> Iterator[str]:
    """A row a gate, those that did not pass first, and a line a waiver."""
    if not shown.gates and not shown.waivers:
        return
    ranked = sorted(shown.gates, key=lambda g: _ORDER.index(g.status))
    yield f"{heading} Gates"
    yield ""
    rows = []
    for gate in ranked[:most]:
        name = "" if gate.name is None else prose(shorten(gate.name, _MAX_CELL)) + "<br>"
        rows.append(
            [
                f"{MARKS[gate.status]} {gate.status}",
                name + code(shorten(gate.rule, _MAX_CELL)),
                prose(shorten(gate.found, 80)),
                prose(shorten(gate.reason, 300)),
            ]
        )
    yield from table(("", "Gate", "Found", "Why"), rows) if rows else ["No gates were set."]
    if len(ranked) > most:
        yield ""
        yield f"{len(ranked) - most} more gates stand in report.html."
    if shown.waivers:
        yield ""
        yield from (f"- {prose(shorten(text, 400))}" for text in waivers(shown)[:_MAX_WAIVERS])
    if len(shown.waivers) > _MAX_WAIVERS:
        yield f"- {len(shown.waivers) - _MAX_WAIVERS} more waivers stand in report.html."


def findings(shown: AuditResult, heading: str = "###") -> Iterator[str]:
    """The brief's rows, worst first; groups of which nothing can be said share a line a reason."""
    if not shown.findings:
        return
    brief = brief_of(shown)
    yield f"{heading} What the head ignores"
    yield ""
    rows = [
        [
            prose(shorten(row.name, 60)),
            f"**{row.word}**" if row.style in ("bad", "warn") else row.word,
            prose(f"{row.bar.text} {row.bar.measure}") if row.bar is not None else "–",
            prose(shorten(row.sentence, 300)),
        ]
        for row in brief.rows
    ]
    if rows:
        yield from table(("Group", "Finding", "Decided by", "In words"), rows)
    else:
        yield "Nothing can be said of what the head ignores."
    if brief.more:
        yield ""
        yield f"{prose(brief.more)}: they stand in report.html."
    if brief.untold:
        yield ""
        for untold in brief.untold:
            names = ", ".join(prose(shorten(name, 60)) for name in untold.groups[:12])
            yield f"- Cannot be told: {names}. {prose(_because(untold))}"


def _because(untold: Untold) -> str:
    reason = untold.reason[:1].upper() + untold.reason[1:]
    return f"{reason}; what helps: {untold.help}." if untold.help else f"{reason}."


def instrument(shown: AuditResult, heading: str = "###") -> Iterator[str]:
    """What every number rests on: the brief's marks, and what was not evaluated."""
    brief = brief_of(shown)
    if brief.marks or shown.not_evaluated:
        yield f"{heading} What this rests on"
        yield ""
        for mark in brief.marks:
            doubt = f" (makes doubtful: {mark.doubtful})" if mark.doubtful else ""
            yield f"- {_STATES[mark.state]} {mark.name}: {prose(shorten(mark.text + doubt, 400))}"
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
