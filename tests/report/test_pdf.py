import io
import sys

import PIL.ImageFile
import pytest
from pypdf import PdfReader
from report_factory import full

from singaudit.errors import ReportError
from singaudit.report.html import render_html
from singaudit.report.pdf import pdf_available, pdf_bytes, write_pdf
from singaudit.report.writer import canonical_json

pytestmark = pytest.mark.skipif(pdf_available() is not None, reason=str(pdf_available()))


def test_pdf_holds_the_report_and_its_result(tmp_path) -> None:
    result = full()
    write_pdf(render_html(result, paper=True), canonical_json(result), tmp_path / "report.pdf")
    reader = PdfReader(tmp_path / "report.pdf")
    assert 3 <= len(reader.pages) <= 9
    text = " ".join(" ".join(page.extract_text() for page in reader.pages).split())
    for expected in ("Null-space audit of leaky.onnx", "2 of 4 gates failed", "What it means", "Reproduce"):
        assert expected in text
    assert "1 / " in text
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
        pdf_bytes("<p>hello", b"{}", seconds=0.01)
