"""The section in a model card: every other byte stays, over many kinds of README; and what the section says."""

import json
import os
import re
import stat

import pytest
from click.testing import CliRunner
from killed import killed_before_move
from markdown_it import MarkdownIt
from report_factory import full, geometry_only
from verdict_cases import TEXTS, cases

from singaudit.cli.main import main
from singaudit.report.card.readme import END, RESTORES, Card, begin
from singaudit.report.formats.writer import write_report
from singaudit.report.result.store import load_result

SUM = "a" * 64
BODY = f"{begin(SUM)}\n\nbody\n\n{END}"
HUB = b"""---
license: apache-2.0 # keep
language: no
tags: ["x",   'y']
---

# Model Card for Model ID

## Uses

[More Information Needed]

## Model Examination [optional]

<!-- Relevant interpretability work for the model goes here -->

[More Information Needed]

## Environmental Impact

[More Information Needed]
"""
CARDS = {
    "empty": b"",
    "a line without an end": b"# hi",
    "a line": b"# hi\n",
    "blank lines at the end": b"# hi\n\n\n\n",
    "blanks at the end": b"# hi   \n  ",
    "CRLF": b"# hi\r\n\r\ntext\r\n",
    "CRLF without a final end": b"# hi\r\n\r\ntext",
    "CR": b"# hi\rtext\r",
    "mixed line ends": b"# hi\r\ntext\nmore\r\nlast\n",
    "a byte order mark": b"\xef\xbb\xbf# hi\n",
    "a byte order mark alone": b"\xef\xbb\xbf",
    "a byte order mark, CRLF and a header": b"\xef\xbb\xbf---\r\nlicense: mit\r\n---\r\n# hi\r\n",
    "the hub's template": HUB,
    "the hub's template, CRLF": HUB.replace(b"\n", b"\r\n"),
    "the hub's template, no final end": HUB.rstrip(b"\n"),
    "the template's end": b"## Model Examination\n\n[More Information Needed]",
    "an examination of its own": b"# x\n\n## Model Examination\n\nWe looked.\n\n## Next\n",
    "a placeholder that is not alone": b"## Model Examination\n\n[More Information Needed]\n\nand more\n",
    "an indented placeholder": b"## Model Examination\n\n  [More Information Needed]\n",
    "a heading alone": b"## Model Examination",
    "a heading in a list": b"- x\n\n  ## Model Examination\n",
    "a heading in code": b"```\n## Model Examination\n```\n",
    "a heading in the header": b"---\n## Model Examination\na: 1\n---\ntext\n",
    "a heading in a comment": b"<!--\n## Model Examination\n-->\ntext\n",
    "a heading underlined": b"Model Examination\n---\n\ntext\n",
    "only a header": b"---\nlicense: mit\n---\n",
    "a broken header": b"---\nlicense: [mit\n: :\n---\n# x\n",
    "a header that never ends": b"---\nlicense: mit\n\n# x\n",
    "no header but a rule": b"# x\n\n---\n\ntext\n",
    "marks in a fence": b"```html\n" + BODY.encode() + b"\n```\n",
    "marks in a fence of tildes": b"~~~~\n" + BODY.encode() + b"\n~~~\n~~~~\ntext\n",
    "marks in indented code": b"text\n\n    " + begin(SUM).encode() + b"\n    " + END.encode() + b"\n",
    "marks in a code span": b"The mark `" + begin(SUM).encode() + b"` begins it.\n",
    "marks in the header": b"---\n# <!-- singaudit:begin v1 -->\n---\ntext\n",
    "another tool's marks": b"<!-- toc:begin -->\n<!-- toc:end -->\n",
    "emoji and other scripts": "# 🙂 日本語 \u2028 x\x85 العربية\n".encode(),
    "control characters": b"# a\x00b\x0cc\x1b[31m\x7f\n",
    "a page of a megabyte": b"# x\n\n" + b"All work and no play. " * 48_000 + b"\n",
    "many fences": b"```\nx\n```\n" * 2000,
    "a list at the end": b"- a\n- b",
    "a table at the end": b"| a |\n|---|\n| b |",
    "raw HTML at the end": b"<div>\n<b>x</b>",
    "a quote at the end": b"> said\n> so",
    "deep quotes": b">" * 3000 + b" x\n",
    "a link with the word": b"See [Model Examination](#model-examination).\n",
}
REFUSED = {
    "two sections": BODY.encode() + b"\n" + BODY.encode() + b"\n",
    "no end": begin(SUM).encode() + b"\ntext\n",
    "no begin": b"text\n" + END.encode() + b"\n",
    "the end first": END.encode() + b"\n" + begin(SUM).encode() + b"\n",
    "a checksum that is none": b"<!-- singaudit:begin v1 sha256=abc -->\nx\n" + END.encode() + b"\n",
    "a mark within a line": b"text " + begin(SUM).encode() + b"\nx\n" + END.encode() + b"\n",
    "a later version's mark": BODY.replace("begin v1", "begin v2").encode(),
    "a fence that never ends": b"# x\n\n```python\nprint()\n",
    "a comment that never ends": b"# x\n\n<!-- todo\n",
    "Latin-1": "# é\n".encode("latin-1"),
    "UTF-16": "# x\n".encode("utf-16"),
}
READER = MarkdownIt("gfm-like", {"linkify": False})


def section_for(card):
    return BODY.replace("body", f"{RESTORES}\nbody") if card.place.instead else BODY


@pytest.mark.parametrize("name", CARDS)
def test_every_byte_outside_of_the_section_stays(name) -> None:
    data = CARDS[name]
    card = Card(data)
    section = section_for(card)
    put = card.with_section(section)
    again = Card(put)
    start, stop = again.place.start, again.place.stop
    outside = put[:start] + put[stop:]
    if card.place.instead:
        assert outside[:start] + b"[More Information Needed]" + outside[start:] == data
    else:  # one line end came with it, behind the section or before it
        assert data in {outside[:start] + outside[start + n :] for n in (1, 2)} | {
            outside[: start - n] + outside[start:] for n in (1, 2)
        }
    assert again.section() == section
    assert again.with_section(section) == put
    longer = again.with_section(section.replace("body", "another\n\nbody"))
    assert Card(longer).without_section() == data
    assert again.without_section() == data


def test_there_are_as_many_kinds_of_cards_as_it_takes() -> None:
    assert len(CARDS) >= 40


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_changed_safely_is_refused_in_words(tmp_path, name) -> None:
    audit, readme = audited(tmp_path), tmp_path / "README.md"
    readme.write_bytes(REFUSED[name])
    done = CliRunner().invoke(main, ["card", str(audit), str(readme)])
    assert (done.exit_code, done.output.count("singaudit:") >= 1) == (2, True), done.output
    assert readme.read_bytes() == REFUSED[name]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["README.md", "audit"]


def audited(tmp_path, result=None):
    write_report(result or full(points=40), {}, tmp_path / "audit", ("json",), run_info={"started": "2026-11-29T10:00"})
    return tmp_path / "audit" / "result.json"


def card(tmp_path, *arguments, code=0):
    done = CliRunner().invoke(main, ["card", str(tmp_path / "audit"), str(tmp_path / "README.md"), *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_it_is_written_once_checked_and_taken_out(tmp_path) -> None:
    audited(tmp_path)
    readme = tmp_path / "README.md"
    readme.write_bytes(HUB)
    (tmp_path / "audit" / "report.pdf").write_bytes(b"%PDF-1.7 a report")
    os.chmod(readme, 0o640)
    card(tmp_path, "--check", code=4)
    card(tmp_path)
    text = readme.read_text()
    assert text.count("singaudit:begin v1 sha256=" + load_result(tmp_path / "audit" / "result.json").checksum) == 1
    assert "(singaudit/equivalent.png)" in text
    assert (tmp_path / "singaudit" / "report.pdf").read_bytes() == b"%PDF-1.7 a report"
    assert (tmp_path / "singaudit" / "equivalent.png").read_bytes().startswith(b"\x89PNG")
    assert stat.S_IMODE(readme.stat().st_mode) == 0o640
    before = readme.stat().st_mtime_ns
    card(tmp_path)
    assert readme.stat().st_mtime_ns == before
    card(tmp_path, "--check")
    readme.write_text(text.replace("Fail", "Pass"))
    card(tmp_path, "--check", code=4)  # edited by hand
    card(tmp_path)
    assert readme.read_text() == text
    (tmp_path / "singaudit" / "report.pdf").unlink()
    card(tmp_path, "--check", code=4)
    card(tmp_path, "--remove")
    assert readme.read_bytes() == HUB
    assert sorted(p.name for p in tmp_path.iterdir()) == ["README.md", "audit"]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_kill_never_takes_the_card(tmp_path) -> None:
    audited(tmp_path)
    (tmp_path / "audit" / "report.pdf").write_bytes(b"%PDF-1.7 a report")
    readme = tmp_path / "README.md"
    for number in range(3):
        readme.write_bytes(HUB)
        assert killed_before_move(number, lambda: card(tmp_path))
        section = Card(readme.read_bytes(), "card").section()
        assert (readme.read_bytes() == HUB) == (section is None)
        card(tmp_path)
        card(tmp_path, "--remove")
        assert readme.read_bytes() == HUB


def test_another_results_section_is_not_this_ones(tmp_path) -> None:
    audited(tmp_path)
    (tmp_path / "README.md").write_bytes(b"# x\n")
    card(tmp_path)
    write_report(geometry_only(), {}, tmp_path / "audit", ("json",), run_info={})
    card(tmp_path, "--check", code=4)
    card(tmp_path)
    assert "Inconclusive" in (tmp_path / "README.md").read_text()
    card(tmp_path, "--check")


@pytest.mark.parametrize(
    "outcome", ["pass", "fail", "undecided", "doubtful", "waived", "no gates", "no images", "hostile"]
)
def test_the_section_says_what_came_of_it_and_holds_no_markup_of_its_names(tmp_path, outcome) -> None:
    result = cases()[outcome]
    audited(tmp_path, result)
    (tmp_path / "README.md").write_bytes(b"# x\n")
    card(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    html = READER.render(text)
    assert ("✅ singaudit" in text) == (outcome in ("pass", "waived"))
    assert result.model.sha256 in text
    if result.data is not None:
        assert result.data.audit.digest in text
    allowed = {"h1", "h2", "h3", "h4", "p", "strong", "em", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th",
               "td", "code", "br", "img", "a"}  # fmt: skip
    assert set(re.findall(r"<(\w+)", html)) <= allowed
    assert set(re.findall(r'(?:src|href)="([^"]*)"', html)) <= {"singaudit/equivalent.png", "singaudit/report.pdf"}
    assert Card(text.encode()).without_section() == b"# x\n"
    assert "bold</b>" not in html
    assert TEXTS[0] not in html


def test_lines_for_a_dated_and_signed_report(tmp_path) -> None:
    audited(tmp_path)
    (tmp_path / "README.md").write_bytes(b"# x\n")
    card(tmp_path, "--annex-iv", "--responsible", "A. Person")
    text = (tmp_path / "README.md").read_text()
    assert "| Date of the audit | 2026-11-29 |" in text
    assert "| Responsible person | A. Person |" in text
    assert "| Signature |" in text
    assert "supplies evidence" in text
    assert "complies" not in text
    card(tmp_path, "--responsible", "A. Person", code=2)


def test_a_redacted_card_shows_no_picture_and_no_place(tmp_path) -> None:
    result = full(points=40)
    command = "singaudit run /home/jane/leaky.onnx --images /home/jane/photos --seed 3"
    audited(tmp_path, result.model_copy(update={"reproduce": result.reproduce.model_copy(update={"command": command})}))
    (tmp_path / "README.md").write_bytes(b"# x\n")
    (tmp_path / "audit" / "report.pdf").write_bytes(b"%PDF-1.7 with pictures")
    card(tmp_path, "--redact")
    text = (tmp_path / "README.md").read_text()
    assert "equivalent.png" not in text
    assert "jane" not in text
    assert "singaudit run leaky.onnx --images IMAGES --seed 3" in text
    pdf = tmp_path / "singaudit" / "report.pdf"
    assert not pdf.exists() or pdf.read_bytes() != b"%PDF-1.7 with pictures"
    card(tmp_path, "--check", code=4)


@pytest.mark.parametrize("kind", ["symlink", "missing", "read-only", "folder in the picture's place"])
def test_a_card_that_cannot_be_written_is_one_message_and_stays(tmp_path, kind) -> None:
    audited(tmp_path)
    readme, other = tmp_path / "README.md", tmp_path / "other.md"
    other.write_bytes(b"# x\n")
    if kind == "symlink":
        readme.symlink_to(other)
    elif kind == "read-only":
        readme.write_bytes(b"# x\n")
        readme.chmod(0o444)
    elif kind.startswith("folder"):
        readme.write_bytes(b"# x\n")
        (tmp_path / "singaudit" / "equivalent.png").mkdir(parents=True)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    output = card(tmp_path, code=2)
    assert "try:" in output
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    assert other.read_bytes() == b"# x\n"


def test_the_folder_of_a_clone_is_a_target_and_json_says_what_changed(tmp_path) -> None:
    audited(tmp_path)
    (tmp_path / "README.md").write_bytes(b"# x\n")
    done = CliRunner().invoke(main, ["card", str(tmp_path / "audit"), str(tmp_path), "--format", "json"])
    assert json.loads(done.output)["changed"] == ["README.md", "singaudit/equivalent.png"]
