"""What a report format is: one function from a result, its pages and what belongs to them, to bytes by file name.

A format's module has ``render``; its line in ``table.py`` says what files it may write. It gets

- ``result``: the audit's result, with texts as they were given: hostile until shown through ``pages.shown``,
- ``pages``: what several formats share, made when first asked for,
- ``files``: what belongs to the run but stands in no result.json,

and returns bytes by name below the output folder. It writes nothing, and nothing that it returns may look like a pass
where the audit failed or came to no conclusion. A format that a process of its own makes has ``begin`` as well, which
gets the same and returns what waits for those bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from singaudit.report.pages.text import displayable
from singaudit.report.result.audit import AuditResult

if TYPE_CHECKING:
    from singaudit.report.pages.html import Document

MAX_PATH = 4096


@dataclass(frozen=True)
class Place:
    """A line of a file that a reader can be led to."""

    path: str
    """Relative to the repository, with slashes."""
    line: int
    """From 1."""


@dataclass(frozen=True)
class PdfSettings:
    """What the process that draws a PDF may take; a report takes seconds and less than half a GiB."""

    seconds: float = 180.0
    """Wall-clock seconds."""
    memory: float = 4.0
    """GiB of memory."""
    appendix: bool = False
    """Whether all rows and groups are printed, instead of eight pages at most."""
    needed: bool = True
    """Whether a report without its PDF is refused; else it is written without, and that is said."""


@dataclass(frozen=True)
class Files:
    """What belongs to a run and stands in no result.json."""

    stored: bytes = b""
    """result.json."""
    per_image: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Columns of scores.csv; empty where there is none."""
    pdf: PdfSettings | None = None
    """How the PDF is made; None: with the defaults."""
    model: str = ""
    """The model's path relative to the repository, as a location; empty: its name."""
    places: tuple[Place | None, ...] = ()
    """Where each gate stands in a configuration file; None or missing where it does not."""
    seconds: float = 0.0
    """How long the audit took."""

    @classmethod
    def of_run(
        cls, run: Mapping[str, Any], stored: bytes, per_image: Mapping[str, Sequence[Any]], pdf: PdfSettings | None
    ) -> Files:
        """With what run.json knows: the model's place, the gates' places and the time; it may come from anywhere."""
        model, seconds = run.get("model_path"), run.get("seconds")
        places = run.get("gate_places")
        return cls(
            stored,
            per_image,
            pdf,
            model if isinstance(model, str) and 0 < len(model) <= MAX_PATH else "",
            tuple(map(_place, places)) if isinstance(places, list) else (),
            float(seconds) if isinstance(seconds, int | float) and 0 <= seconds < 1e9 else 0.0,
        )


def _place(stored: object) -> Place | None:
    """A gate's place as run.json holds it: [path, line]."""
    if not (isinstance(stored, list) and len(stored) == 2):
        return None
    path, line = stored
    fits = isinstance(path, str) and isinstance(line, int) and 0 < len(path) <= MAX_PATH and 0 < line < 2**31
    return Place(path, line) if fits else None


class Pages:
    """What formats share: the result as inert text, and the document of its pages, each made once."""

    def __init__(self, result: AuditResult) -> None:
        self._result = result

    @cached_property
    def shown(self) -> AuditResult:
        """The result with every text inert: no control, direction or invisible characters."""
        return displayable(self._result)

    @cached_property
    def document(self) -> Document:
        """The report's pages, for screen and paper."""
        from singaudit.report.pages.html import Document

        return Document(self._result)


class Render(Protocol):
    """The function of a format's module."""

    def __call__(self, result: AuditResult, pages: Pages, files: Files) -> dict[str, bytes]:
        """Bytes by file name; empty where the format has nothing to say. Raises ReportError."""
        ...
