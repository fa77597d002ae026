"""GitLab's code quality report, by the rules of its own schema, each of them here."""

import json
import re

import pytest
from verdict_cases import cases, rendered

CASES = cases()


def entries(outcome):
    return json.loads(rendered("gitlab", CASES[outcome]))


def test_what_a_person_sees_of_each_outcome() -> None:
    found = {outcome: [(e["check_name"], e["severity"]) for e in entries(outcome)] for outcome in CASES}
    assert found["pass"] == found["no gates"] == []
    assert found["waived"] == [("singaudit/waiver", "info")] * 2
    assert found["fail"] == [("singaudit/gate-undecided", "minor"), ("singaudit/gate-failed", "major")]
    assert found["undecided"] == [("singaudit/gate-undecided", "minor"), ("singaudit/inconclusive", "minor")]
    assert found["doubtful"] == found["no images"] == [("singaudit/inconclusive", "minor")]


@pytest.mark.parametrize("outcome", CASES)
def test_it_is_an_array_of_complete_entries_without_a_byte_order_mark(outcome) -> None:
    assert rendered("gitlab", CASES[outcome]).startswith(b"[")
    found = entries(outcome)
    for entry in found:
        assert set(entry) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert entry["description"]
        assert entry["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert re.fullmatch("[0-9a-f]{64}", entry["fingerprint"])
        path = entry["location"]["path"]
        assert path  # relative to the repository, without ./
        assert not path.startswith(("/", "./"))
        assert ".." not in path.split("/")
        assert isinstance(entry["location"]["lines"]["begin"], int)
    assert len({entry["fingerprint"] for entry in found}) == len(found)
