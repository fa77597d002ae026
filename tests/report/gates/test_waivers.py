"""Waivers: a failed gate stops counting until a date; doubt is never waived; what does nothing is said."""

from datetime import date

import pytest
from report_factory import full

from singaudit.config import Waiver
from singaudit.report.gates.rules import parse_rules
from singaudit.report.gates.verdict import decided

TODAY = date(2026, 6, 1)
FAILED = "finding[colour] not in (strong)"
PASSED = "finding[size] not in (strong)"
UNSURE = "finding[background] not in (strong)"


@pytest.fixture(scope="module")
def result():
    found = full(points=40)
    return found.model_copy(update={"not_evaluated": [], "warnings": []})


def waiver(gate, until=date(2026, 12, 31), **more):
    return Waiver(gate=gate, until=until, reason="retrained by then", **more)


def decide(result, rules, *waivers, today=TODAY):
    return decided(result, parse_rules(rules), "upper", waivers, today)


@pytest.mark.parametrize("gate", ["colour is kept", FAILED, "finding[ colour ]  not in(strong)"])
def test_a_failed_gate_named_by_its_name_or_its_rule_is_waived(result, gate):
    found = decide(result, [f"colour is kept = {FAILED}", PASSED], waiver(gate))
    assert [g.status for g in found.gates] == ["waived", "pass"]
    assert "retrained by then" in found.gates[0].reason
    assert found.verdict.status == "pass"
    assert found.verdict.sentence == "1 of 2 gates passed; 1 failed and is waived."
    assert [(w.status, w.until) for w in found.waivers] == [("applied", "2026-12-31")]


def test_a_gate_of_any_name_is_waived(result):
    name = '<b> "quoted" & \\ 🙂\x1b ' + "n" * 9000
    found = decide(result, [f"'{name.replace(chr(92), chr(92) * 2)}' = {FAILED}"], waiver(name))
    assert (found.gates[0].name, found.gates[0].status) == (name, "waived")


def test_the_last_day_counts_and_the_next_does_not(result):
    days = {
        day: decide(result, [FAILED], waiver(FAILED, date(2026, 5, 31)), today=day)
        for day in (date(2026, 5, 31), date(2026, 6, 1))
    }
    assert [found.verdict.status for found in days.values()] == ["pass", "fail"]
    late = days[date(2026, 6, 1)]
    assert late.waivers[0].status == "expired"
    assert "expired on 2026-05-31" in late.gates[0].reason
    assert any("expired on 2026-05-31" in text for text in late.warnings)


def test_a_clock_that_is_wrong_by_a_year_changes_only_what_the_date_decides(result):
    one, other = (
        decide(result, [FAILED, PASSED], waiver(PASSED, date(2099, 1, 1)), today=day)
        for day in (date(2025, 6, 1), date(2026, 6, 1))
    )
    assert one == other


def test_doubt_is_never_waived(result):
    found = decide(result, [UNSURE], waiver(UNSURE))
    assert (found.gates[0].status, found.verdict.status) == ("inconclusive", "inconclusive")
    assert found.waivers[0].status == "undecided"
    doubtful = result.model_copy(update={"not_evaluated": ["scores were not evaluated"]})
    found = decide(doubtful, [FAILED], waiver(FAILED))
    assert (found.gates[0].status, found.verdict.status) == ("waived", "inconclusive")


def test_a_waiver_of_another_model_or_of_no_gate_changes_nothing_and_is_said(result):
    other, none = waiver(FAILED, model="sha256:" + "0" * 64), waiver("colours are kept")
    found = decide(result, [FAILED], other, none)
    assert found.verdict.status == "fail"
    assert [w.status for w in found.waivers] == ["other model", "unmatched"]
    assert sum("waiver" in text for text in found.warnings) == 2
    mine = waiver(FAILED, model=f"sha256:{result.model.sha256}")
    assert decide(result, [FAILED], mine).verdict.status == "pass"


def test_a_waiver_that_is_not_needed_is_listed_without_a_warning(result):
    found = decide(result, [PASSED], waiver(PASSED))
    assert (found.verdict.status, found.waivers[0].status) == ("pass", "not needed")
    assert not found.warnings


def test_where_every_gate_is_waived_the_sentence_says_that_none_passed(result):
    assert decide(result, [FAILED], waiver(FAILED)).verdict.sentence == "No gate passed; 1 failed and is waived."
