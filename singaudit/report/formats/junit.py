"""JUnit XML as Jenkins, GitLab, Azure and GitHub's actions read it: a test case a gate, and one for the verdict.

fail is ``<failure>``, inconclusive ``<error>`` (both are red everywhere), waived and "no gates set" ``<skipped>``.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from singaudit.report.formats.checks import Check, Status, checks, conclusion, model_path, waivers
from singaudit.report.formats.interface import Files, Pages, Place
from singaudit.report.result.audit import AuditResult
from singaudit.version import __version__

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write: ElementTree writes it all the same, and no reader takes the file."""
_ELEMENTS: dict[Status, str] = {"fail": "failure", "inconclusive": "error", "waived": "skipped"}
_COUNTS = {"failure": "failures", "error": "errors", "skipped": "skipped"}


def render(result: AuditResult, pages: Pages, files: Files) -> dict[str, bytes]:
    """The test suite ``singaudit``."""
    shown = pages.shown
    gates = checks(shown, files)
    cases = [*gates, _verdict(shown, files, {c.name for c in gates})]
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(suites, "testsuite")
    counts = dict.fromkeys(_COUNTS.values(), 0)
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(result, shown):
        ElementTree.SubElement(properties, "property", name=name, value=_xml(value))
    for case in cases:
        element = ElementTree.SubElement(
            suite,
            "testcase",
            name=_xml(case.name),
            classname=_xml(f"singaudit.{shown.model.name}"),
            file=_xml(case.place.path),
            line=str(case.place.line),
            time=_seconds(files.seconds / len(cases)),
        )
        kind = _ELEMENTS.get(case.status)
        if kind is not None:
            counts[_COUNTS[kind]] += 1
            reason = ElementTree.SubElement(element, kind, message=_xml(case.message))
            if kind != "skipped":
                reason.set("type", f"singaudit.{case.status}")
            reason.text = _xml(case.message)
    totals = {"name": "singaudit", "tests": str(len(cases)), "time": _seconds(files.seconds)}
    for element in (suites, suite):
        for key, value in {**totals, **{k: str(v) for k, v in counts.items()}}.items():
            element.set(key, value)
    del suites.attrib["skipped"]  # the outer element has none in the readers' schemas
    ElementTree.indent(suites, " ")
    text: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return {"TEST-singaudit.xml": text + b"\n"}


def _verdict(shown: AuditResult, files: Files, taken: set[str]) -> Check:
    """The audit as a whole: a pass only where it passed; without gates nothing was tested."""
    statuses: dict[str, Status] = {"pass": "pass", "fail": "fail", "no gates set": "waived"}
    status = statuses.get(shown.verdict.status, "inconclusive")
    name = "verdict"
    while name in taken:
        name = f"{name} of the audit"
    return Check(name, status, conclusion(shown), Place(model_path(shown, files), 1))


def _properties(result: AuditResult, shown: AuditResult) -> list[tuple[str, str]]:
    return [
        ("singaudit.version", __version__),
        ("singaudit.verdict", shown.verdict.status),
        ("model.sha256", shown.model.sha256),
        ("result.checksum", result.checksum),
        *((f"waiver.{i}", text) for i, text in enumerate(waivers(shown), 1)),
    ]


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _xml(text: str) -> str:
    return _FORBIDDEN.sub("", text)
