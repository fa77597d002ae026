"""SARIF: the standard's schema, and each rule of GitHub's on top of it."""

import gzip
import json
import re
from pathlib import Path
from urllib.parse import unquote, urlparse

import jsonschema
import pytest
from verdict_cases import cases, gate, rendered, with_gates

CASES = cases()
SCHEMA = next(
    (p / "shared/data/schemas/sarif-2.1.0.json" for p in Path(__file__).parents if (p / "shared/data").is_dir()), Path()
)
LEVELS = {"singaudit/gate-failed": "error", "singaudit/gate-undecided": "warning", "singaudit/inconclusive": "warning"}


def run(result, **known):
    (found,) = json.loads(rendered("sarif", result, **known))["runs"]
    return found


def results(result, **known):
    return run(result, **known)["results"]


def test_only_what_did_not_pass_is_an_alert() -> None:
    found = {name: [(r["ruleId"], r["level"]) for r in results(result)] for name, result in CASES.items()}
    assert found["pass"] == found["waived"] == found["no gates"] == []
    assert found["fail"] == [("singaudit/gate-failed", "error"), ("singaudit/gate-undecided", "warning")]
    assert found["undecided"] == [("singaudit/gate-undecided", "warning"), ("singaudit/inconclusive", "warning")]
    assert found["doubtful"] == found["no images"] == [("singaudit/inconclusive", "warning")]


def test_waivers_are_notes_on_the_configuration_and_no_alert() -> None:
    (invocation,) = run(CASES["waived"])["invocations"]
    assert [note["level"] for note in invocation["toolConfigurationNotifications"]] == ["note", "note"]
    assert "toolConfigurationNotifications" not in run(CASES["pass"])["invocations"][0]


@pytest.mark.parametrize("outcome", CASES)
def test_every_result_has_a_location_inside_the_repository(outcome) -> None:
    for found in results(CASES[outcome], model="../out/model ü%.onnx"):
        for place in [*found["locations"], *found.get("relatedLocations", [])]:
            uri = place["physicalLocation"]["artifactLocation"]["uri"]
            assert not urlparse(uri).scheme
            assert uri.isascii()
            assert not uri.startswith("/")
            assert ".." not in unquote(uri).split("/")
            assert place["physicalLocation"]["region"]["startLine"] >= 1


def test_a_gate_of_a_file_points_there_and_names_the_model_beside() -> None:
    found = results(with_gates([gate("fail")], "fail"))[0]
    assert found["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "pyproject.toml"},
        "region": {"startLine": 12},
    }
    assert found["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "models/leaky.onnx"


@pytest.mark.parametrize("outcome", CASES)
def test_rules_have_what_github_shows_within_its_limits(outcome) -> None:
    driver = run(CASES[outcome])["tool"]["driver"]
    assert {rule["id"]: rule["defaultConfiguration"]["level"] for rule in driver["rules"]} == LEVELS
    for rule in driver["rules"]:
        assert 0 < len(rule["id"]) <= 255
        assert all(0 < len(rule[part]["text"]) <= 1024 for part in ("shortDescription", "fullDescription"))
        assert rule["help"]["text"]
        assert len(rule["properties"]["tags"]) <= 20
    for found in results(CASES[outcome]):
        assert driver["rules"][found["ruleIndex"]]["id"] == found["ruleId"]
        assert found["message"]["text"]


def test_an_alert_survives_a_new_model_and_new_numbers() -> None:
    one = with_gates([gate("fail", name="colour")], "fail")
    other = with_gates([gate("fail", name="colour") | {"found": "9", "value": 9.0}], "fail")
    other = other.model_copy(update={"model": other.model.model_copy(update={"sha256": "0" * 64})})
    prints = [results(r)[0]["partialFingerprints"]["primaryLocationLineHash"] for r in (one, other)]
    assert prints[0] == prints[1]
    assert re.fullmatch("[0-9a-f]{16}:1", prints[0])
    assert results(one, model="other.onnx")[0]["partialFingerprints"]["primaryLocationLineHash"] != prints[0]


@pytest.mark.parametrize("outcome", CASES)
def test_no_two_alerts_share_a_fingerprint(outcome) -> None:
    prints = [r["partialFingerprints"]["primaryLocationLineHash"] for r in results(CASES[outcome])]
    assert len(set(prints)) == len(prints)


def test_two_models_of_a_repository_keep_their_alerts_apart() -> None:
    ids = [run(CASES["fail"], model=m)["automationDetails"]["id"] for m in ("a.onnx", "b.onnx")]
    assert ids == ["singaudit/a.onnx/", "singaudit/b.onnx/"]


def test_more_gates_than_github_takes_are_counted() -> None:
    many = with_gates([gate("fail", name=f"g{i}") for i in range(25_010)], "fail")
    data = rendered("sarif", many)
    assert len(gzip.compress(data)) < 10 * 2**20
    found = json.loads(data)["runs"][0]["results"]
    assert len(found) == 25_000
    assert "11 more gates" in found[-1]["message"]["text"]


@pytest.mark.skipif(not SCHEMA.is_file(), reason="the OASIS schema is not here")
@pytest.mark.parametrize("outcome", CASES)
def test_it_validates_against_the_schema_of_the_standard(outcome) -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(json.loads(rendered("sarif", CASES[outcome])), schema)
