"""The formats of a report: a line a format, beside the one file that makes it.

``--report`` and its help, what it accepts, and the writer read this table. A module is imported when its format is
made, so that the help of a command costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from singaudit.errors import ReportError

if TYPE_CHECKING:
    from singaudit.report.formats.interface import Files, Pages
    from singaudit.report.result.audit import AuditResult


@dataclass(frozen=True)
class Format:
    """One format of a report."""

    name: str
    """As --report takes it."""
    file: str
    """The file that it writes into the output folder."""
    module: str
    """Where its ``render`` is, in this folder."""
    usual: bool = False
    """Whether it is written where nobody says which."""
    again: bool = True
    """Whether it can be made from result.json alone."""
    aside: bool = False
    """Whether a process of its own makes it, while this one makes others: its module has ``begin`` as well."""

    def render(self, result: AuditResult, pages: Pages, files: Files) -> dict[str, bytes]:
        """Bytes by file name, as ``interface.Render`` says."""
        made: dict[str, bytes] = import_module(f"{__package__}.{self.module}").render(result, pages, files)
        return made

    def begin(self, result: AuditResult, pages: Pages, files: Files) -> Callable[[], dict[str, bytes]]:
        """What gives the same; of a format that is made ``aside``, that has begun by then."""
        if not self.aside:
            return partial(self.render, result, pages, files)
        begun: Callable[[], dict[str, bytes]] = import_module(f"{__package__}.{self.module}").begin(
            result, pages, files
        )
        return begun


FORMATS = {
    line.name: line
    for line in (
        Format("html", "report.html", "html", usual=True),
        Format("pdf", "report.pdf", "pdf", usual=True, aside=True),
        Format("json", "result.json", "json", usual=True),
        Format("csv", "scores.csv", "csv", usual=True, again=False),
        Format("junit", "TEST-singaudit.xml", "junit"),
        Format("sarif", "singaudit.sarif", "sarif"),
        Format("gitlab", "gl-code-quality-report.json", "gitlab"),
        Format("md", "summary.md", "markdown"),
        Format("cyclonedx", "singaudit.cdx.json", "cyclonedx"),
    )
}
"""By name, in the order in which help lists them."""
RESULT_FILE = FORMATS["json"].file
SCORES_FILE = FORMATS["csv"].file


def usual_formats(again: bool = False) -> tuple[str, ...]:
    """The formats that are written where nobody says which; ``again``: from an earlier result.json."""
    return tuple(line.name for line in FORMATS.values() if line.usual and (line.again or not again))


def chosen_formats(words: Sequence[str], again: bool = False) -> tuple[str, ...]:
    """The formats that ``words`` list, each a name or several parted by commas.

    Raises ReportError for a name that is none, and with ``again`` for one that result.json alone cannot give.
    """
    names = tuple(dict.fromkeys(word.strip() for each in words for word in each.split(",")))
    possible = [line.name for line in FORMATS.values() if line.again or not again]
    for name in names:
        if name not in FORMATS:
            raise ReportError(
                f"expected --report to list some of {', '.join(possible)}, got {name!r}", hint="For example: html,json."
            )
        if name not in possible:
            raise ReportError(
                f"expected formats that an earlier result.json gives, {FORMATS[name].file} holds more than it",
                hint=f"Leave {name} out: {FORMATS[name].file} lies beside the result where the audit wrote it.",
            )
    return names
