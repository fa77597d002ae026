"""Text of a result as Markdown that is nothing but text: no markup, links, mentions or HTML of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PUNCTUATION = re.compile(r"[\\`*\[\]<>|~$]|(?<!\w)_|_(?!\w)|^\s*[-+=#]")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_RULE = re.compile(r"^(\s*\d+)([.)])(?=\s|$)")
_LINKS = re.compile(r"(:)(?=//)|([Ww][Ww][Ww])(?=\.)|(@)(?=\w)|(#)(?=\d)")


def prose(text: str) -> str:
    """Inert text as Markdown. ``text`` holds no line breaks or control characters."""
    escaped = _PUNCTUATION.sub(lambda found: _escaped(found[0]), _ENTITY.sub("&amp;", text))
    escaped = _RULE.sub(r"\1\\\2", escaped)
    # Readers turn addresses, @names and issue numbers into links after escapes are gone: a character of no width parts
    # them.
    return _LINKS.sub(lambda found: found[0] + "\u200b", escaped)


def _escaped(mark: str) -> str:
    return mark[:-1] + "\\" + mark[-1]


def code(text: str, cell: bool = True) -> str:
    """``text`` as a code span: nothing in it is read as markup. ``cell``: it stands in a table."""
    body = text.strip() or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", body)), default=0) + 1)
    pad = " " if body.startswith("`") or body.endswith("`") else ""
    if cell:
        # A table is cut at its bars before code is looked at; a backslash before one would then be read as two.
        body = body.replace("\\|", "\\\u200b|").replace("|", "\\|")
    return f"{fence}{pad}{body}{pad}{fence}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A table's lines. Cells are Markdown already."""
    names = list(head)
    return [
        "| " + " | ".join(names) + " |",
        "|" + " --- |" * len(names),
        *("| " + " | ".join(cells) + " |" for cells in rows),
    ]
