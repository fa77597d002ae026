"""What the audit could not measure never fails a model; what needs no language is judged all the same."""

import pytest
from report_factory import full

from singaudit.report.gates.instrument import rests_on
from singaudit.report.gates.judge import judge_gates
from singaudit.report.gates.rules import parse_rule, parse_rules
from singaudit.report.gates.verdict import decided
from singaudit.report.result.base import Statistic
from singaudit.report.result.data import ClassReading
from singaudit.report.result.model import CertificatePart
from singaudit.report.result.scores import ClassPart
from singaudit.report.result.words import ClassFinding, WordPart, WordsPart


def statistic(value, low, high, n=500):
    return Statistic(value=value, low=low, high=high, n=n)


@pytest.fixture(scope="module")
def sound():
    """A result whose instrument works, with a group that is ignored and classes that are labelled."""
    result = full()
    kept = result.findings[0]
    findings = [
        kept.model_copy(update={"group": "class", "kind": "class", "finding": "strong", "own_value": "labels"}),
        kept.model_copy(update={"group": "colour", "kind": "group", "finding": "strong", "own_value": "zero-shot"}),
    ]
    data = result.data.model_copy(
        update={"accuracy": statistic(0.5, 0.45, 0.55), "class_gain": statistic(0.31, 0.28, 0.34)}
    )
    translator = result.translator.model_copy(update={"r2": statistic(0.5, 0.45, 0.55), "images": 4000})
    certificate = CertificatePart(
        status="passed", precision="fp32", tolerance=1e-4, max_logit_difference=0.0, difference_unoptimised=0.0,
        difference_optimised=0.0, top1_agreement=1.0, gradient_cosine=1.0, ran_on="cpu", unsupported=[], reason="",
    )  # fmt: skip
    audit = data.audit.model_copy(update={"used": 2000})
    return result.model_copy(
        update={
            "findings": findings,
            "data": data.model_copy(update={"audit": audit}),
            "translator": translator,
            "certificate": certificate,
        }
    )


def _blind(result):
    reading = ClassReading(value=0.12, low=0.1, high=0.14, n=2000, chance=0.125)
    return result.model_copy(update={"encoder": result.encoder.model_copy(update={"class_reading": reading})})


def _shuffled(result):
    r2 = statistic(0.0, -0.01, 0.001)
    return result.model_copy(update={"translator": result.translator.model_copy(update={"r2": r2})})


def _uncertified(result):
    certificate = result.certificate.model_copy(update={"status": "failed", "reason": "logits differ"})
    return result.model_copy(update={"certificate": certificate})


def _few(result):
    audit = result.data.audit.model_copy(update={"used": 120})
    return result.model_copy(update={"data": result.data.model_copy(update={"audit": audit})})


FAULTS = {"blind": _blind, "shuffled": _shuffled, "uncertified": _uncertified, "few": _few}
LANGUAGE = ("finding[colour] not in (strong, partial)", "scores.attribute_score_deg < 0")
MODEL = ("data.accuracy > 0.9", "geometry.null_dim < 0", "class knowledge = data.class_gain < 0.2")


def test_a_sound_instrument_lets_gates_fail(sound):
    found = judge_gates(parse_rules((*LANGUAGE, *MODEL)), sound, "upper")
    assert [gate.status for gate in found] == ["fail"] * 5


@pytest.mark.parametrize("fault", FAULTS)
def test_with_a_broken_instrument_no_gate_on_language_fails_and_gates_on_the_model_do(sound, fault):
    broken = FAULTS[fault](sound)
    found = judge_gates(parse_rules((*LANGUAGE, *MODEL)), broken, "upper")
    assert [gate.status for gate in found] == ["inconclusive"] * 2 + ["fail"] * 3
    assert found[0].reason
    assert decided(broken, parse_rules(LANGUAGE), "upper").verdict.status == "inconclusive"
    assert decided(broken, parse_rules(MODEL), "upper").verdict.status == "fail"


@pytest.mark.parametrize("fault", ["shuffled", "uncertified", "few"])
def test_with_a_broken_instrument_nothing_is_found(sound, fault):
    findings = decided(FAULTS[fault](sound), [], "upper").findings
    assert {part.finding for part in findings} == {"cannot tell"}
    assert all("'strong'" in part.rule for part in findings)


def test_with_a_broken_instrument_nothing_is_said_of_a_class_or_in_words(sound):
    word = WordPart(name="red", group="colour", change="lost", change_deg=None, control_deg=None)
    other = word.model_copy(update={"group": "elsewhere"})
    mine = ClassFinding(group="colour", finding="strong", contrast_deg=None, carried_share=None, control_deg=None)
    part = ClassPart(
        name="dog", images=9, image_score_deg=None, attribute_score_deg=None, signed_attribute_score_deg=None,
        quantiles_deg=[], words=[word, other], concepts=[word], findings=[mine],
    )  # fmt: skip
    words = WordsPart(lost=[word, other], gained=[word], tested=2, level=0.05)
    said = _few(sound).model_copy(update={"classes": [part], "words": words})
    found = decided(said, [], "upper")
    assert found.classes[0].findings[0].finding == found.classes[0].concepts[0].change == "cannot tell"
    assert found.classes[0].words == found.words.lost == [other]
    assert not found.words.gained
    assert decided(sound.model_copy(update={"classes": [part]}), [], "upper").classes == [part]


def test_a_blind_language_model_leaves_groups_whose_values_are_labelled(sound):
    findings = decided(_blind(sound), [], "upper").findings
    assert [part.finding for part in findings] == ["strong", "cannot tell"]


@pytest.mark.parametrize(
    "rule",
    [
        "translator.r2.low > 0.9",
        "certificate.status in (unsupported)",
        "data.audit.used > 100000",
        "scores.attribute_score_deg.n > 100000",
        "finding[colour].readability.score > 1.1",
    ],
)
def test_gates_on_the_instrument_are_undecided_where_they_do_not_hold(sound, rule):
    found = judge_gates([parse_rule(rule)], sound, "upper")[0]
    assert found.status == "inconclusive"
    assert rests_on(parse_rule(rule), sound) == "instrument"
    assert decided(sound, [parse_rule(rule)], "upper").verdict.status == "inconclusive"


def test_the_ready_policy_fails_a_head_that_knows_the_class_less_than_its_features(sound):
    gates = {gate.name: gate.status for gate in judge_gates(parse_rules(("default",)), sound, "upper")}
    assert gates["class knowledge"] == "fail"
    data = sound.data.model_copy(update={"class_gain": statistic(0.05, 0.02, 0.08)})
    gates = judge_gates(parse_rules(("default",)), sound.model_copy(update={"data": data}), "upper")
    assert {gate.name: gate.status for gate in gates}["class knowledge"] == "pass"


def test_without_labels_the_ready_policy_is_undecided_and_never_passed(sound):
    data = sound.data.model_copy(update={"class_gain": None})
    gates = judge_gates(parse_rules(("default",)), sound.model_copy(update={"data": data}), "upper")
    assert {gate.name: gate.status for gate in gates}["class knowledge"] == "inconclusive"
