"""JUnit: what Jenkins, GitLab, Azure and GitHub's actions make of it; nothing that did not pass is green."""

import io
from xml.etree import ElementTree

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from verdict_cases import TEXTS, cases, gate, rendered, with_gates

CASES = cases()


def suite(result, **known):
    (found,) = JUnitXml.fromstring(rendered("junit", result, **known))
    return found


def kinds(case):
    return [type(part) for part in case.result]


@pytest.mark.parametrize("outcome", CASES)
def test_every_outcome_is_a_file_that_readers_parse(outcome) -> None:
    data = rendered("junit", CASES[outcome])
    found = suite(CASES[outcome])
    tests = list(found)
    assert found.name == "singaudit"
    assert len(tests) == len(CASES[outcome].gates) + 1 == found.tests
    assert [sum(kind in kinds(t) for t in tests) for kind in (Failure, Error, Skipped)] == [
        found.failures,
        found.errors,
        found.skipped,
    ]
    # Readers drop a test whose class and name they have seen.
    assert len({(t.classname, t.name) for t in tests}) == len(tests)
    assert all(t.classname.startswith("singaudit.") for t in tests)
    ElementTree.parse(io.BytesIO(data))


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [("pass", []), ("fail", [Failure]), ("undecided", [Error]), ("doubtful", [Error]), ("waived", []),
     ("no gates", [Skipped]), ("no images", [Error]), ("hostile", [Failure])],
)  # fmt: skip
def test_the_verdict_is_green_only_where_the_audit_passed(outcome, verdict) -> None:
    assert kinds(list(suite(CASES[outcome]))[-1]) == verdict


def test_a_failed_gate_is_a_failure_and_an_undecided_one_an_error() -> None:
    passed, undecided, failed, _ = suite(CASES["fail"])
    assert [kinds(t) for t in (passed, failed, undecided)] == [[], [Failure], [Error]]
    assert "found 4.13" in failed.result[0].text
    assert failed.result[0].text == failed.result[0].message
    assert failed.name == "colour"
    assert passed.name == "scores.attribute_score_deg < 3"


def test_a_waived_gate_is_skipped_with_its_reason() -> None:
    passed, waived, _ = suite(CASES["waived"])
    assert [kinds(t) for t in (waived, passed)] == [[Skipped], []]
    assert waived.result[0].message


def test_a_gate_points_at_its_line_and_every_other_test_at_the_model() -> None:
    first, second, *_ = suite(CASES["fail"])
    assert (first._elem.get("file"), first._elem.get("line")) == ("pyproject.toml", "12")
    assert second._elem.get("file") == "models/leaky.onnx"


def test_characters_that_xml_forbids_are_gone_and_all_else_is_there() -> None:
    names = [t.name for t in suite(CASES["hostile"])]
    assert names[0] == TEXTS[0]
    assert "emoji 🙂" in names[3]
    assert not any(ord(c) < 32 for name in names for c in name)
    assert all(len(name) <= 410 for name in names)


def test_a_gate_called_verdict_does_not_hide_the_verdict() -> None:
    found = [(t.name, kinds(t)) for t in suite(with_gates([gate("pass", name="verdict")], "inconclusive"))]
    assert found[0] == ("verdict", [])
    assert found[1][1] == [Error]
    assert found[1][0] != "verdict"


def test_time_is_the_audits() -> None:
    assert suite(CASES["pass"], seconds=3.0).time == pytest.approx(3.0)
