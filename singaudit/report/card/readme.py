"""A model card as bytes: where the audit's section stands, is put, replaced and taken out, all else left as it was.

The section lies between two comments, each a line of its own::

    <!-- singaudit:begin v1 sha256=(result.json's checksum) -->
    <!-- singaudit:end -->

A new one goes below the template's heading "Model Examination" where there is one, in the place of a lone
"[More Information Needed]", which a comment inside the section remembers; else to the end. The YAML header is skipped
and never parsed: what reads and writes YAML drops comments and turns ``no`` into false.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

from singaudit.errors import ReportError

MAX_BYTES = 16 * 2**20
"""No model card is larger."""
PLACEHOLDER = b"[More Information Needed]"
"""What the hub's template leaves below a heading."""
END = "<!-- singaudit:end -->"
RESTORES = "<!-- singaudit:instead of [More Information Needed] -->"
_BEGIN = re.compile(rb" {0,3}<!-- singaudit:begin v1 sha256=([0-9a-f]{64}) -->[ \t]*")
_ENDS = re.compile(rb" {0,3}" + re.escape(END.encode()) + rb"[ \t]*")
_MARK = re.compile(rb"<!--\s*/?singaudit:(?:begin|end)\b")
_INLINE_CODE = re.compile(rb"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)")
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)?")
_HEADING = re.compile(r"Model Examination(?:\s*\[optional\])?")
_COMMENT = re.compile(rb"\s*<!--(?:(?!-->).)*-->\s*", re.DOTALL)
_RAW_HTML = re.compile(r"\s*<(pre|script|style|textarea)\b", re.IGNORECASE)
_BOM = b"\xef\xbb\xbf"


def begin(checksum: str) -> str:
    """The line that a section of the result with ``checksum`` (64 hex digits) begins with."""
    return f"<!-- singaudit:begin v1 sha256={checksum} -->"


@dataclass(frozen=True)
class Place:
    """Where the section stands, or would stand."""

    start: int
    """Its first byte."""
    stop: int
    """The first byte after it; where nothing is replaced equal to ``start``."""
    checksum: str | None
    """As the begin mark says; None where there is no section yet."""
    below_heading: bool
    """Whether it stands below the template's heading: it needs none of its own then."""
    instead: bool
    """Whether it stands in the place of the template's lone placeholder."""


@dataclass(frozen=True)
class _Structure:
    """What Markdown makes of the lines, numbered from 0 over the whole file."""

    code: frozenset[int]
    """Lines in which nothing counts: the YAML header, code, and comments of several lines."""
    headings: tuple[tuple[int, int, str], ...]
    """(first line, line after it, text) of every heading of the second level."""
    unclosed: int | None
    """Line of a code block or comment that runs into the end of the file."""


class Card:
    """One model card. Raises ReportError for bytes that are no UTF-8 text, and as ``place`` says."""

    def __init__(self, data: bytes, name: str = "README.md") -> None:
        self._data, self._name = data, name
        if len(data) > MAX_BYTES:
            raise ReportError(f"{name} is larger than {MAX_BYTES >> 20} MB, no model card is", hint="Name a README.md.")
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ReportError(
                f"expected a model card in UTF-8, but byte {error.start} of {name} is none of it",
                hint="Save the file as UTF-8; the hub reads nothing else.",
            ) from error
        self._starts = [found.start() for found in _LINE.finditer(data) if found[0]]
        self._lines = [found[0] for found in _LINE.finditer(data) if found[0]]

    @cached_property
    def place(self) -> Place:
        """Where the section is, or where it belongs.

        Raises ReportError for two sections, half a section, or an end that lies inside of code.
        """
        found = self._marks()
        if found is not None:
            first, last, checksum = found
            # A byte order mark before the section is the card's.
            start = self._starts[first] + (len(_BOM) if self._lines[first].startswith(_BOM) else 0)
            stop = self._starts[last] + len(self._lines[last].rstrip(b"\r\n"))
            instead = RESTORES.encode() in [line.strip() for line in self._lines[first : last + 1]]
            return Place(start, stop, checksum, self._is_below_heading(first), instead)
        for _, after, text in self._structure.headings:
            if _HEADING.fullmatch(text.strip()):
                return self._below(after)
        if self._structure.unclosed is not None:
            raise ReportError(
                f"expected a model card that ends outside of code and comments, but what line "
                f"{self._structure.unclosed + 1} of {self._name} opens is never closed",
                hint="Close it: a section at the end of the file would be part of it.",
            )
        return Place(len(self._data), len(self._data), None, False, False)

    def section(self) -> str | None:
        """The section as it stands, line ends as ``\\n``; None where there is none."""
        if self.place.checksum is None:
            return None
        found = self._data[self.place.start : self.place.stop].decode()
        return found.replace("\r\n", "\n").replace("\r", "\n")

    def with_section(self, section: str) -> bytes:
        """The card with ``section`` (lines parted by ``\\n``, marks included, no final line end) in its place."""
        place = self.place
        body = section.replace("\n", self._newline.decode()).encode()
        if place.checksum is None and not place.instead:
            fresh = place.start == 0 or self._data[: place.start].endswith((b"\n", b"\r", _BOM))
            body = body + self._newline if fresh else self._newline + body
        return self._data[: place.start] + body + self._data[place.stop :]

    def without_section(self) -> bytes:
        """The card as it was before the section was put in."""
        place = self.place
        if place.checksum is None:
            return self._data
        before, after = self._data[: place.start], self._data[place.stop :]
        if place.instead:
            return before + PLACEHOLDER + after
        # The line end that came with the section: behind it, or before it where the file's last line had none.
        for end in (b"\r\n", b"\n", b"\r"):
            if after.startswith(end):
                return before + after[len(end) :]
        for end in (b"\r\n", b"\n", b"\r"):
            if before.endswith(end):
                return before[: -len(end)] + after
        return before + after

    @cached_property
    def _newline(self) -> bytes:
        """What ends the line before the section, else the file's first line."""
        before = [line for start, line in zip(self._starts, self._lines, strict=True) if start < self.place.start]
        for line in [*reversed(before[-1:]), *self._lines[:1]]:
            ending = line[len(line.rstrip(b"\r\n")) :]
            if ending:
                return ending
        return b"\n"

    def _marks(self) -> tuple[int, int, str] | None:
        """(line of the begin mark, line of the end mark, checksum); None without marks."""
        begins: list[tuple[int, str]] = []
        ends: list[int] = []
        for i, line in enumerate(self._lines):
            if i in self._structure.code or _MARK.search(_INLINE_CODE.sub(b"", line)) is None:
                continue
            plain = line.rstrip(b"\r\n")
            opened = _BEGIN.fullmatch(plain.removeprefix(_BOM) if i == 0 else plain)
            if opened is not None:
                begins.append((i, opened[1].decode()))
            elif _ENDS.fullmatch(plain):
                ends.append(i)
            else:
                self._broken(i, "holds a mark that is no mark of singaudit's")
        if not begins and not ends:
            return None
        if len(begins) > 1:
            self._broken(begins[1][0], "begins a second section")
        if len(ends) > 1:
            self._broken(ends[1], "ends a second section")
        if not ends:
            self._broken(begins[0][0], "begins a section that never ends")
        if not begins or ends[0] < begins[0][0]:
            self._broken(ends[0], "ends a section that never began")
        return begins[0][0], ends[0], begins[0][1]

    def _broken(self, line: int, what: str) -> NoReturn:
        raise ReportError(
            f"expected one section of singaudit's in {self._name}, but line {line + 1} {what}; nothing was changed",
            hint="Take the marks <!-- singaudit:begin ... --> and <!-- singaudit:end --> out by hand, then try again.",
        )

    def _is_below_heading(self, line: int) -> bool:
        above = [text for first, _, text in self._structure.headings if first < line]
        return bool(above) and _HEADING.fullmatch(above[-1].strip()) is not None

    def _below(self, after: int) -> Place:
        """Below the template's heading: in the place of a lone placeholder, else right below the heading."""
        following = [first for first, _, _ in self._structure.headings if first >= after]
        stop = following[0] if following else len(self._lines)
        rest = b"".join(self._lines[after:stop])
        lead = 0
        while (comment := _COMMENT.match(rest, lead)) is not None:
            lead = comment.end()
        body = rest[lead:]
        if body.strip() == PLACEHOLDER:
            start = self._starts[after] + lead + body.index(PLACEHOLDER)
            line_start = max(self._data.rfind(b"\n", 0, start), self._data.rfind(b"\r", 0, start)) + 1
            if start == line_start:
                return Place(start, start + len(PLACEHOLDER), None, True, True)
        at = self._starts[after] if after < len(self._starts) else len(self._data)
        return Place(at, at, None, True, False)

    @cached_property
    def _structure(self) -> _Structure:
        from markdown_it import MarkdownIt

        header = self._header()
        body = b"".join(self._lines[header:]).removeprefix(_BOM if header == 0 else b"").decode()
        parser = MarkdownIt("commonmark")
        parser.core.ruler.enableOnly(["normalize", "block"])
        code, headings, unclosed = set(range(header)), [], None
        tokens = parser.parse(body)
        for i, token in enumerate(tokens):
            if token.map is None:
                continue
            first, last = (header + at for at in token.map)
            comment = token.type == "html_block" and token.content.lstrip().startswith("<!--")
            if token.type in ("fence", "code_block") or (comment and last - first > 1):
                code.update(range(first, last))
            if token.type == "heading_open" and token.tag == "h2" and token.level == 0:
                headings.append((first, last, tokens[i + 1].content))
            if token.level == 0 and _runs_on(token.type, token.content, token.markup, self._lines[first:last]):
                unclosed = first if not any(line.strip() for line in self._lines[last:]) else unclosed
        return _Structure(frozenset(code), tuple(headings), unclosed)

    def _header(self) -> int:
        """Lines of the YAML header; 0 without one, or where it never ends."""
        plain = [line.strip() for line in self._lines]
        if not plain or plain[0].removeprefix(_BOM) != b"---":
            return 0
        return next((i + 1 for i, line in enumerate(plain) if i and line in (b"---", b"...")), 0)


def _runs_on(kind: str, content: str, markup: str, lines: list[bytes]) -> bool:
    """Whether a block that needs an end has none."""
    if kind == "fence":
        last = lines[-1].strip()
        return len(lines) < 2 or len(last) < len(markup) or bool(last.strip(markup[:1].encode()))
    if kind != "html_block":
        return False
    if content.lstrip().startswith("<!--"):
        return "-->" not in content
    raw = _RAW_HTML.match(content)
    return raw is not None and f"</{raw[1].lower()}>" not in content.lower()
