"""summary.md: the brief, inert whatever names it holds, and never longer than a comment."""

import re
from html import unescape

import pytest
from markdown_it import MarkdownIt
from verdict_cases import TEXTS, cases, gate, rendered, with_gates

from singaudit.report.brief.make import brief_of

CASES = cases()
WORDS = {
    "pass": "✅",
    "fail": "❌",
    "undecided": "⚠️",
    "doubtful": "⚠️",
    "waived": "✅",
    "no gates": "⚪",
    "no images": "⚠️",
}
READER = MarkdownIt("gfm-like", {"linkify": False})


def text(outcome):
    return rendered("md", CASES[outcome]).decode()


@pytest.mark.parametrize("outcome", WORDS)
def test_the_first_line_says_the_verdict(outcome) -> None:
    first = text(outcome).splitlines()[0]
    assert first.startswith(f"## {WORDS[outcome]} singaudit: ")
    assert ("✅" in first) == (outcome in ("pass", "waived"))


def test_gates_that_did_not_pass_come_first() -> None:
    rows = [line for line in text("fail").splitlines() if line.startswith("| ") and "scores.attribute" in line]
    assert [row.split()[2] for row in rows] == ["fail", "inconclusive", "pass"]


@pytest.mark.parametrize("outcome", CASES)
def test_no_name_becomes_markup_or_a_link_or_a_mention(outcome) -> None:
    source = text(outcome)
    assert not re.search(r"(?<!`)@\w|\w#\d|://\w", re.sub(r"(`+).*?\1", "", source))
    html = READER.render(source)
    assert set(re.findall(r"<(\w+)", html)) <= {
        "h2", "h3", "p", "strong", "em", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "code", "sub",
        "br",
    }  # fmt: skip
    assert "<b>" not in html


def test_a_table_keeps_its_columns_whatever_stands_in_it() -> None:
    html = READER.render(text("hostile"))
    for row in re.findall("<tr>(.*?)</tr>", html, re.DOTALL):
        assert row.count("</td>") + row.count("</th>") == 4
    assert "| pipe ` tick ```" in html
    assert "&lt;b&gt;bold&lt;/b&gt;" in html


def test_it_is_never_longer_than_a_comment() -> None:
    many = with_gates(
        [gate("fail", rule=t[:4096], name=f"{i} " + "x" * 4000) for i in range(500) for t in TEXTS[:1]],
        "fail",
        sentence="s" * 4000,
    )
    found = rendered("md", many).decode()
    assert len(found) < 60_000
    assert "460 more gates" in found
    assert "data:" not in found


@pytest.mark.parametrize("outcome", ["pass", "fail", "undecided", "no gates", "no images"])
def test_it_says_what_the_first_screen_says(outcome) -> None:
    brief, said = brief_of(CASES[outcome]), READER.render(text(outcome))
    shown = unescape(re.sub(r"<[^>]+>", "", said))
    assert brief.sentence in shown
    assert brief.certainty in shown
    assert all(row.sentence in shown and row.word in shown for row in brief.rows)
    assert all(mark.text in shown for mark in brief.marks)
    assert all(step.why in shown for step in brief.steps)
