"""The ordered rules: the first that applies decides, and doubt is never a finding."""

from dataclasses import replace

import pytest

from singaudit.metrics.findings import Evidence, decide, sentence, unstable
from singaudit.metrics.intervals import Estimate


def e(value, low=None, high=None):
    return Estimate(value, value if low is None else low, value if high is None else high, 500)


LEAK = Evidence(
    null_dim=56, images=500, translator_images=4000, r2=e(0.6), readable=e(0.95), margin=e(30.0),
    margin_share=e(0.8), margin_excess=e(30.0), carried_share=e(0.9), follow_excess=e(0.8), follow_normalised=0.9,
    probe_null=e(0.95),
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({}, "strong"),
        ({"null_dim": 0}, "not applicable"),
        ({"null_dim": 0, "images": 1}, "not applicable"),
        ({"r2": e(0.1, -0.01, 0.2)}, "cannot tell"),
        ({"readable": e(0.6, 0.5, 0.7)}, "cannot tell"),
        ({"r2": e(0.0014, 0.0006, 0.0021)}, "cannot tell"),
        ({"margin_excess": e(0.5, -0.1, 1.0)}, "cannot tell"),
        ({"margin_share": e(0.06, 0.04, 0.08)}, "cannot tell"),
        ({"translator_images": 999}, "cannot tell"),
        ({"images": 99}, "cannot tell"),
        ({"follow_normalised": 0.5}, "partial"),
        ({"carried_share": e(0.62, 0.55, 0.7)}, "partial"),
        ({"carried_share": e(0.2, 0.15, 0.25)}, "redundant"),
        ({"follow_excess": e(0.0, -0.01, 0.01), "follow_normalised": 0.0}, "redundant"),
        ({"carried_share": e(0.0, -0.05, 0.05), "probe_null": e(0.05, 0.0, 0.1)}, "not detected"),
        ({"carried_share": e(0.0, -0.2, 0.2), "probe_null": e(0.05, 0.0, 0.1)}, "cannot tell"),
        ({"carried_share": e(0.0, -0.05, 0.05), "probe_null": e(0.2, 0.1, 0.3)}, "cannot tell"),
        ({"probe_null": e(0.0, -0.1, 0.1)}, "cannot tell"),
        ({"probe_null": e(0.0, -0.1, 0.1), "margin_share": e(0.02, 0.0, 0.04)}, "not detected"),
        ({"probe_null": e(0.5, 0.4, 0.6), "margin_share": e(0.02, 0.0, 0.04)}, "cannot tell"),
        ({"probe_null": e(0.0, -0.1, 0.1), "margin_share": e(0.08, 0.0, 0.12)}, "cannot tell"),
    ],
)
def test_first_rule_that_applies_decides(change, finding):
    found, why = decide(replace(LEAK, **change))
    assert found == finding
    assert why


def test_not_a_number_never_becomes_a_finding():
    nan = float("nan")
    assert decide(replace(LEAK, carried_share=e(nan)))[0] != "strong"
    assert decide(replace(LEAK, r2=e(nan)))[0] == "cannot tell"
    assert decide(replace(LEAK, carried_share=e(nan), probe_null=e(0.05)))[0] == "cannot tell"


def test_instability_is_a_contradiction_not_a_lack_of_power():
    assert unstable("strong", ("strong", "not detected"))
    assert unstable("not detected", ("partial", "not detected"))
    assert not unstable("strong", ("partial", "strong"))
    assert not unstable("strong", ("cannot tell", "strong"))
    assert not unstable("cannot tell", ("strong", "not detected"))


def test_sentences_speak_of_what_the_head_ignores():
    assert "ignored by the head" in sentence("colour", "strong", e(0.9))
    assert "used" not in sentence("colour", "not detected", None)
