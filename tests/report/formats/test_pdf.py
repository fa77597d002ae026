import io
import os
import sys
import threading
import time
from pathlib import Path

import PIL.ImageFile
import pytest
from click.testing import CliRunner
from pypdf import PdfReader
from pypdf.generic import IndirectObject
from report_factory import full

from singaudit.cli.command import each_command
from singaudit.cli.main import main
from singaudit.errors import ReportError
from singaudit.report.formats.pdf import PdfSettings, dismiss, pdf_available, pdf_bytes, prepare, prepared, write_pdf
from singaudit.report.formats.writer import write_report
from singaudit.report.pages.html import render_html
from singaudit.report.result.store import canonical_json

pytestmark = pytest.mark.skipif(pdf_available() is not None, reason=str(pdf_available()))


def test_pdf_holds_the_report_and_its_result(tmp_path) -> None:
    result = full()
    write_pdf(render_html(result, paper=True), canonical_json(result), tmp_path / "report.pdf")
    reader = PdfReader(tmp_path / "report.pdf")
    assert 3 <= len(reader.pages) <= 8
    text = " ".join(" ".join(page.extract_text() for page in reader.pages).split())
    for expected in ("singaudit leaky.onnx", "2 of 4 gates failed", "Reproduce"):
        assert expected in text
    assert "1 / " in text
    first = " ".join(reader.pages[0].extract_text().split())
    for expected in ("Do not ship as it is", "What the head ignores", "Same logits, another colour", "What to do next"):
        assert expected in first
    assert "singaudit compare leaky.onnx" in first
    assert reader.pages[1].extract_text().startswith("Gates"), "the brief runs over its page"
    assert reader.attachments["result.json"] == [canonical_json(result)]
    assert b"pdfaid" in reader.root_object["/Metadata"].get_data()
    assert [p.name for p in tmp_path.iterdir()] == ["report.pdf"]


def test_nothing_outside_the_document_is_read(tmp_path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("do not read me")
    html = f"<p>hello<link rel=attachment href='{secret.as_uri()}'><img src='{secret.as_uri()}' alt='gone'>"
    reader = PdfReader(io.BytesIO(pdf_bytes(html, b"{}")))
    assert list(reader.attachments) == ["result.json"]


def test_this_process_stays_as_it_was() -> None:
    assert pdf_bytes("<p>hello", b"{}").startswith(b"%PDF-1.7")
    assert PIL.ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert "weasyprint" not in sys.modules


def test_a_document_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(ReportError, match="not ready"):
        pdf_bytes("<p>hello", b"{}", PdfSettings(seconds=0.01))


def test_a_document_that_takes_too_much_memory_is_given_up() -> None:
    greedy = "<table>" + "<tr><td>x<td>y" * 100_000
    with pytest.raises(ReportError, match=r"within 0\.3 GiB") as caught:
        pdf_bytes(greedy, b"{}", PdfSettings(memory=0.3))
    assert "--pdf-memory" in caught.value.hint


def test_a_pdf_that_was_not_asked_for_by_name_costs_nobody_the_report(tmp_path, caplog) -> None:
    paths = write_report(full(), {}, tmp_path, ("html", "pdf", "json"), pdf=PdfSettings(0.01, needed=False))
    assert sorted(p.name for p in paths) == ["report.html", "result.json", "run.json"]
    assert "no PDF is written" in caplog.text
    with pytest.raises(ReportError, match="not ready"):
        write_report(full(), {}, tmp_path / "other", ("html", "pdf"), pdf=PdfSettings(0.01))
    assert not (tmp_path / "other").exists()


def test_the_other_formats_are_made_while_the_pdf_is_drawn(tmp_path, monkeypatch) -> None:
    made = threading.Event()

    def drawn(*_) -> bytes:
        return b"%PDF-" if made.wait(60) else b"the others waited"

    monkeypatch.setattr("singaudit.report.formats.pdf.pdf_bytes", drawn)
    monkeypatch.setattr("singaudit.report.formats.csv.scores_csv", lambda columns: made.set() or b"rows")
    paths = write_report(full(), {"image": ["a"]}, tmp_path, ("csv", "pdf"))
    assert [p.name for p in paths] == ["run.json", "report.pdf", "scores.csv"]
    assert (tmp_path / "report.pdf").read_bytes() == b"%PDF-"


def test_the_limits_are_options_of_every_command_that_draws(tmp_path) -> None:
    source = tmp_path / "result.json"
    source.write_bytes(canonical_json(full()))
    arguments = ["report", str(source), "-o", str(tmp_path / "out"), "--report", "pdf"]
    slow = CliRunner().invoke(main, [*arguments, "--pdf-seconds", "0.01"])
    assert slow.exit_code == 2
    assert "--pdf-seconds" in slow.stderr
    assert not (tmp_path / "out").exists()
    small = CliRunner(env={"SINGAUDIT_PDF_MEMORY": "0.1"}).invoke(main, arguments)
    assert small.exit_code == 2
    assert "0.1 GiB" in small.stderr
    assert not (tmp_path / "out").exists()
    drawing = {"run", "report", "compare", "demo"}
    commands = {name for name, c in each_command(main) if any("--pdf-memory" in p.opts for p in c.params)}
    assert commands == drawing


def test_the_same_result_gives_the_same_bytes() -> None:
    html, stored = render_html(full(), paper=True), canonical_json(full())
    first = pdf_bytes(html, stored)
    time.sleep(1.1)  # dates in a PDF count seconds
    assert pdf_bytes(html, stored) == first


def drawing() -> int:
    """Children of this process that draw, or wait to."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            parent = (path.parent / "stat").read_text().rsplit(")", 1)[1].split()[1]
            found += parent == str(os.getpid()) and b"pdf_worker" in path.read_bytes()
        except OSError:
            continue
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc")
def test_a_process_that_waits_draws_the_same_and_is_gone_then() -> None:
    first = pdf_bytes("<p>hello", b"{}")
    prepare()
    prepare()
    assert prepared() is None
    assert drawing() == 1
    assert pdf_bytes("<p>hello", b"{}", PdfSettings(memory=2.0)) == first, "other limits have a process of their own"
    assert drawing() == 1
    assert pdf_bytes("<p>hello", b"{}") == first
    assert drawing() == 0
    prepare()
    dismiss()
    assert drawing() == 0


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc")
@pytest.mark.parametrize(("formats", "waiting"), [("html,pdf", 1), ("html,json", 0)])
def test_an_audit_that_fails_leaves_no_process_that_waits_to_draw(formats, waiting, tmp_path, monkeypatch) -> None:
    seen = []

    def failing(*_):
        seen.append(drawing())
        raise ReportError("planted")

    monkeypatch.setattr("singaudit.cli.commands.run.audit", failing)
    arguments = ["run", "builtin:leaky", "--geometry-only", "--report", formats, "-o", str(tmp_path / "out")]
    found = CliRunner().invoke(main, arguments)
    assert "planted" in found.stderr
    assert (seen, drawing()) == ([waiting], 0)
    assert not (tmp_path / "out" / "report.pdf").exists()


@pytest.mark.parametrize("report", ["html,pdf", None])
def test_where_no_pdf_can_be_drawn_that_is_said_before_the_first_image(report, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("singaudit.report.formats.pdf._WORKER", "singaudit.no_such_worker")
    pdf_available.cache_clear()
    looked = []
    monkeypatch.setattr("singaudit.pipeline.audit.observe_images", lambda *given: looked.append(given) or 1 / 0)
    asked = ["--report", report] if report else []
    found = CliRunner().invoke(
        main,
        ["run", "builtin:leaky", "--images", "shapes:40", "--vlm", "builtin:shapes", *asked, "-o", str(tmp_path / "o")],
    )
    pdf_available.cache_clear()
    if report:
        assert (found.exit_code, looked) == (2, [])
        assert "expected to write a PDF, but" in found.stderr
    else:
        assert len(looked) == 1
        assert found.stderr.count("no PDF is written") == 1
    assert not (tmp_path / "o").exists()


def every_dictionary(value, seen):
    """All dictionaries that can be reached from ``value``."""
    if isinstance(value, IndirectObject):
        if value.idnum in seen:
            return
        seen.add(value.idnum)
        value = value.get_object()
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from every_dictionary(part, seen)
    elif isinstance(value, list):
        for part in value:
            yield from every_dictionary(part, seen)


def test_rules_of_pdf_a_3b_that_can_be_checked_hold() -> None:
    """ISO 19005-3: 6.1 file structure, 6.2.11 fonts, 6.2.3 output intent, 6.3 annotations, 6.5 actions, 6.6, 6.8."""
    reader = PdfReader(io.BytesIO(pdf_bytes(render_html(full(), paper=True), canonical_json(full()))))
    root, trailer = reader.root_object, reader.trailer
    assert len(trailer["/ID"]) == 2
    assert "/Encrypt" not in trailer
    xmp = root["/Metadata"].get_data().decode()
    assert 'pdfaid:part="3"' in xmp
    assert 'pdfaid:conformance="B"' in xmp
    intent = root["/OutputIntents"][0]
    assert intent["/S"] == "/GTS_PDFA1"
    assert intent["/DestOutputProfile"].get_object().get_data()[36:40] == b"acsp"
    fonts = 0
    for found in every_dictionary(trailer["/Root"], set()):
        assert not {"/JS", "/AA", "/OpenAction", "/XFA"} & set(found)
        assert found.get("/S") not in ("/Launch", "/JavaScript", "/Sound", "/Movie", "/ResetForm", "/ImportData")
        assert "/LZWDecode" not in str(found.get("/Filter", ""))
        if found.get("/Type") == "/FontDescriptor":
            fonts += 1
            assert {"/FontFile", "/FontFile2", "/FontFile3"} & set(found), found.get("/FontName")
        if found.get("/Type") == "/Annot":
            assert int(found.get("/F", 0)) & 0b111010 == 0  # neither hidden nor invisible nor without view
            assert int(found.get("/F", 0)) & 4  # printed
        if found.get("/Type") == "/Filespec":
            assert found["/AFRelationship"] == "/Data"
            assert {"/F", "/UF", "/EF"} <= set(found)
            assert found["/EF"]["/F"].get_object()["/Subtype"] == "/application/json"
    assert fonts >= 2
    assert root["/AF"]
