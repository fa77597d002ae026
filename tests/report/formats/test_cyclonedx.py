"""The ML-BOM: CycloneDX's own schema, and the verdict where a reader of numbers meets it."""

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from verdict_cases import cases, rendered

CASES = cases()


def component(outcome):
    return json.loads(rendered("cyclonedx", CASES[outcome]))["metadata"]["component"]


@pytest.mark.parametrize("outcome", CASES)
def test_it_validates_against_the_schema_of_the_standard(outcome) -> None:
    data = rendered("cyclonedx", CASES[outcome]).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data) is None


@pytest.mark.parametrize("outcome", CASES)
def test_the_verdict_stands_first_among_the_limitations(outcome) -> None:
    found = component(outcome)
    limits = found["modelCard"]["considerations"]["technicalLimitations"]
    assert limits[0].startswith(f"Verdict of the audit: {CASES[outcome].verdict.status}.")
    properties = {p["name"]: p["value"] for p in found["properties"]}
    assert properties["singaudit:verdict"] == CASES[outcome].verdict.status


def test_measures_are_text_with_their_intervals_and_slices() -> None:
    metrics = component("fail")["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    accuracy = next(m for m in metrics if m["type"] == "accuracy")
    assert accuracy == {
        "type": "accuracy",
        "value": "0.97",
        "confidenceInterval": {"lowerBound": "0.96", "upperBound": "0.98"},
    }
    assert {m.get("slice", "").split(":")[0] for m in metrics} == {"", "class", "concept group"}


def test_the_same_result_is_the_same_bytes_and_another_has_another_serial_number() -> None:
    assert rendered("cyclonedx", CASES["fail"]) == rendered("cyclonedx", CASES["fail"])
    serials = {json.loads(rendered("cyclonedx", r))["serialNumber"] for r in CASES.values()}
    assert len(serials) == len(CASES)
