"""What a person sees of each outcome in each reader, by the reader's own rules; the guide's table says the same."""

import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pypdf import PdfReader
from verdict_cases import CASE_OF, cases, rendered

from singaudit.cli.github_actions import annotation_lines
from singaudit.cli.summary import brief_lines
from singaudit.pipeline.audit import Audit
from singaudit.report.brief.make import brief_of
from singaudit.report.card.section import Attached, section_text
from singaudit.report.formats.interface import Files, Pages
from singaudit.report.formats.pdf import pdf_available
from singaudit.report.formats.table import FORMATS
from singaudit.report.result.store import canonical_json

CASES = cases()
GUIDE = Path(__file__).parents[3] / "examples/guides/ci.md"
WORDS = {"Pass", "Fail", "Inconclusive", "No gates set"}


def junit(failed: str, error: str, skipped: str):
    """A reader of JUnit: what it makes of a test with each element, the first that it looks for deciding."""

    def read(result) -> str:
        tests = ElementTree.fromstring(rendered("junit", result)).findall(".//testcase")
        seen = []
        for name, test in (("gate", tests[-2] if len(tests) > 1 else None), ("verdict", tests[-1])):
            if test is not None:
                kinds = {part.tag for part in test}
                state = (failed if "failure" in kinds else error if "error" in kinds
                         else skipped if "skipped" in kinds else "passed")  # fmt: skip
                seen.append(f"{name} {state}")
        return ", ".join(seen)

    return read


def worst(names: list[str], order: str, none: str) -> str:
    return min(names, key=order.split().index) if names else none


def annotations(result) -> str:
    kinds = [line.split()[0].strip(":") for line in annotation_lines(Pages(result).shown, Files())]
    return worst(kinds, "error warning", "nothing")


def sarif(result) -> str:
    (run,) = json.loads(rendered("sarif", result))["runs"]
    return worst([found["level"] for found in run["results"]], "error warning", "no alert")


def gitlab_quality(result) -> str:
    found = json.loads(rendered("gitlab", result))
    return worst([entry["severity"] for entry in found], "major minor info", "nothing")


def bom(result) -> str:
    card = json.loads(rendered("cyclonedx", result))["metadata"]["component"]["modelCard"]
    first = card["considerations"]["technicalLimitations"][0]
    return re.match(r"Verdict of the audit: ([\w ]+)\.", first)[1]


def first_words(result) -> str:
    """The one word that page, PDF's source, terminal, summary and card begin with."""
    html = rendered("html", result).decode()
    card = section_text(
        Pages(result).shown, "0" * 64, Attached(None, False), below_heading=True, instead=False, annex=None
    )
    found = {
        re.search(r'<h2 id="verdict-h">(?:<span[^>]*>[^<]*</span>)?([\w ]+)</h2>', html)[1],
        re.search(r"singaudit: ([\w ]+),", rendered("md", result).decode().splitlines()[0])[1],
        re.search(r"### \S+ singaudit: ([\w ]+),", card)[1],
        re.match(r"\S ([A-Z ]+)  ", brief_lines(brief_of(result))[0][0])[1].capitalize(),
    }
    (word,) = found
    assert word in WORDS
    return word


READERS = {
    "exit code": lambda result: str(Audit(result, {}).exit_code),
    "first word of report.html, report.pdf, terminal, summary.md, job summary, card": first_words,
    "JUnit in Jenkins": junit("failed", "failed", "skipped"),
    "JUnit in GitLab": junit("failed", "error", "skipped"),
    "JUnit in Azure": junit("failed", "failed", "not executed"),
    "JUnit in GitHub's test reporters": junit("failed", "failed", "skipped"),
    "SARIF in code scanning": sarif,
    "GitLab code quality": gitlab_quality,
    "GitHub annotations": annotations,
    "ML-BOM, first limitation": bom,
}
GREEN = {"0", "Pass", "gate passed, verdict passed", "pass"}


def table() -> dict[str, dict[str, str]]:
    """The guide's table: reader -> outcome -> what is seen."""
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| reader |"))
    head = [cell.strip() for cell in lines[start].strip("|").split("|")][1:]
    found = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip().replace("`", "") for cell in line.strip("|").split("|"))
        found[name] = dict(zip(head, cells, strict=True))
    return found


@pytest.mark.parametrize("reader", READERS)
def test_the_guides_table_says_what_each_file_says(reader) -> None:
    told = table()[reader]
    assert set(told) == set(CASE_OF)
    for outcome, case in CASE_OF.items():
        assert READERS[reader](CASES[case]) == told[outcome], outcome


def test_the_table_has_every_reader_and_no_other() -> None:
    assert set(table()) == set(READERS)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", ["fail", "undecided", "doubtful", "no images", "hostile"])
def test_nothing_that_did_not_pass_looks_like_a_pass(reader, case) -> None:
    seen = READERS[reader](CASES[case])
    assert seen not in GREEN
    assert "verdict passed" not in seen
    assert seen not in ("nothing", "no alert", "info")


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "csv"])
@pytest.mark.parametrize("case", ["waived", "hostile"])
def test_every_report_lists_every_waiver(name, case) -> None:
    result = CASES[case]
    if name == "pdf":
        if pdf_available() is not None:
            pytest.skip(str(pdf_available()))
        if case == "hostile":
            return
        reader = PdfReader(io.BytesIO(rendered("pdf", result)))
        text = "".join("".join(page.extract_text().split()) for page in reader.pages)
        assert all("".join(part.reason.split()) in text for part in result.waivers)
        return
    data = rendered(name, result, stored=canonical_json(result)).decode()
    assert data.count("2027-01-31") >= len(result.waivers)
    if case == "waived":
        assert data.count("the new head is trained by then") >= 2
        assert all(part.status in data for part in result.waivers)
