"""Turns the report's HTML into a PDF: in a process of its own.

WeasyPrint changes Pillow's treatment of truncated images when it is imported, which would change an audit's numbers.
Run as ``python -m singaudit.report.formats.pdf_worker BYTES``, the memory that it may take. A line on stdout says that
the libraries are loaded, however long it then takes until stdin holds the length of the HTML in bytes on a line of its
own, the HTML, and result.json; stdout receives the PDF.
"""

import datetime
import hashlib
import logging
import os
import sys

from singaudit import child

# The dates of the attached result, which has none of its own, and of the fonts.
_DATE = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)


def main() -> None:
    """Load the libraries, read the two documents, write the PDF."""
    child.settle_in(int(sys.argv[1]))
    # Where HarfBuzz's subsetting is not installed, fontTools dates the fonts that it cuts down by the clock.
    os.environ["SOURCE_DATE_EPOCH"] = str(int(_DATE.timestamp()))
    import weasyprint
    from weasyprint.urls import URLFetcher

    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.buffer.flush()
    logging.getLogger("weasyprint").setLevel(logging.CRITICAL)
    size = int(sys.stdin.buffer.readline())
    html = sys.stdin.buffer.read(size).decode()
    result = sys.stdin.buffer.read()
    # Nothing but the data URIs inside the document may be read: no file, no network.
    fetcher = URLFetcher(allowed_protocols=("data",), allow_redirects=False)
    document = weasyprint.HTML(string=html, url_fetcher=fetcher)
    # The same result gives the same bytes: the file's identifier is its content's hash and its dates are fixed.
    digest = hashlib.sha256(html.encode() + result).hexdigest().encode()
    attachment = weasyprint.Attachment(
        string=result,
        name="result.json",
        description="Everything this report shows",
        relationship="Data",
        created=_DATE,
        modified=_DATE,
    )
    pdf = document.write_pdf(pdf_variant="pdf/a-3b", attachments=[attachment], pdf_identifier=digest)
    sys.stdout.buffer.write(pdf)


if __name__ == "__main__":
    main()
