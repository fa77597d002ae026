"""The audit's section of a model card as Markdown: verdict, gates, findings, one picture, and what it all rests on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from singaudit.report.card.readme import END, RESTORES, begin
from singaudit.report.formats.markdown import findings, gates, headline, instrument
from singaudit.report.pages.markdown_text import code, prose, table
from singaudit.report.pages.text import shorten
from singaudit.report.result.audit import AuditResult

FOLDER = "singaudit"
"""Beside the card: the files that the section links to."""
PICTURE = f"{FOLDER}/equivalent.png"
PDF = f"{FOLDER}/report.pdf"
_MAX_GATES = 20
_MAX_LIMITS = 8


@dataclass(frozen=True)
class AnnexIV:
    """What technical documentation asks of a test report beside its content: a date and who answers for it."""

    date: str
    """Of the audit, as run.json says; empty where it is not known."""
    responsible: str
    """Name of the person; empty for a line to write on."""


@dataclass(frozen=True)
class Attached:
    """Files that stand beside the card."""

    picture: str | None
    """What the picture shows, in words; None without one."""
    pdf: bool
    """Whether the report is there as a PDF."""


def section_text(
    shown: AuditResult, checksum: str, attached: Attached, *, below_heading: bool, instead: bool, annex: AnnexIV | None
) -> str:
    """The section, from mark to mark, lines parted by ``\\n``. ``shown`` holds inert texts.

    ``below_heading``: it stands below the card's own heading; ``instead``: it took the place of the placeholder.
    """
    lines = [begin(checksum), *([RESTORES] if instead else []), ""]
    if not below_heading:
        lines += ["## Audit of what the head ignores", ""]
    lines += [*headline(shown, "###"), ""]
    for block in (
        gates(shown, "####", _MAX_GATES),
        findings(shown, "####"),
        _picture(attached),
        instrument(shown, "####"),
        _record(shown, checksum, attached),
        _limits(shown),
        _annex(annex) if annex is not None else iter(()),
    ):
        part = list(block)
        if part:
            lines += [*part, ""]
    return "\n".join([*lines, END])


def _picture(attached: Attached) -> Iterator[str]:
    if attached.picture is not None:
        text = prose(shorten(attached.picture, 300))
        yield f"![{text}]({PICTURE})"
        yield ""
        yield f"_{text}_"


def _record(shown: AuditResult, checksum: str, attached: Attached) -> Iterator[str]:
    """What identifies the audit, and how it is run again."""
    yield "#### Record"
    yield ""
    rows = [["model sha256", code(shown.model.sha256)]]
    if shown.data is not None:
        used = f"{shown.data.audit.used:,} images, digest {code(shown.data.audit.digest)}"
        rows.append(["images", used])
    if shown.encoder is not None:
        name = f"{shown.encoder.name} {shown.encoder.revision[:12]}"
        rows.append(["vision-language model", prose(shorten(name, 120))])
    versions = ", ".join(f"{name} {version}" for name, version in sorted(shown.reproduce.versions.items()))
    rows.append(["versions", prose(shorten(versions, 400))])
    rows.append(["result.json sha256", code(checksum)])
    rows.append(["command", code(shorten(shown.reproduce.command, 600))])
    yield from table(("", ""), rows)
    if attached.pdf:
        yield ""
        yield f"The whole report: [report.pdf]({PDF})"


def _limits(shown: AuditResult) -> Iterator[str]:
    """What the audit cannot say."""
    yield "#### Limits"
    yield ""
    yield (
        "- Measured on the images named above and read by the vision-language model named above. It says what the "
        "head's logits do not see, not why, and nothing of other images."
    )
    rest = [*shown.verdict.reasons, *shown.not_evaluated, *shown.warnings]
    said = [text for text in rest if not text.startswith("the gate ")]
    yield from (f"- {prose(shorten(text, 400))}" for text in said[:_MAX_LIMITS])
    if len(said) > _MAX_LIMITS:
        yield f"- {len(said) - _MAX_LIMITS} more stand in the report."


def _annex(annex: AnnexIV) -> Iterator[str]:
    """Lines that a dated and signed test report needs; the audit supplies evidence, no more."""
    line = "\\_" * 24
    yield "#### Test report (supplies evidence for Annex IV, 2 (g), of Regulation (EU) 2024/1689)"
    yield ""
    yield from table(
        ("", ""),
        [
            ["Date of the audit", prose(annex.date) if annex.date else line],
            ["Responsible person", prose(shorten(annex.responsible, 200)) if annex.responsible else line],
            ["Signature", line],
        ],
    )
