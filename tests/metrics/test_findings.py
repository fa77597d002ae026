"""The ordered rules: the first that applies decides, and doubt is never a finding."""

import math
from dataclasses import replace

import pytest

from singaudit.metrics.findings import Evidence, decide, sentence, unstable
from singaudit.metrics.intervals import Estimate


def e(value, low=None, high=None):
    return Estimate(value, value if low is None else low, value if high is None else high, 500)


LEAK = Evidence(
    null_dim=56, images=500, translator_images=4000, effective_images=480.0, r2=e(0.6), readable=e(0.95),
    margin=e(30.0), margin_control=1.0, margin_share=e(0.8), carried_share=e(0.9), follow_normalised=e(0.9),
    follow_share=e(0.95), follow_q=1e-9, probe_principal=e(0.05), probe_null=e(0.95), probe_gain=e(0.9),
)  # fmt: skip
USED = {
    "carried_share": e(-0.2, -0.3, -0.1),
    "follow_normalised": e(0.0, -0.05, 0.05),
    "follow_q": 0.7,
    "probe_principal": e(0.9),
    "probe_null": e(0.05, 0.0, 0.1),
    "probe_gain": e(0.01),
}


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({}, "strong"),
        ({"null_dim": 0}, "not applicable"),
        ({"null_dim": 0, "images": 1}, "not applicable"),
        ({"r2": e(0.1, -0.01, 0.2)}, "cannot tell"),
        ({"readable": e(0.6, 0.5, 0.7)}, "cannot tell"),
        ({"r2": e(0.0014, 0.0006, 0.0021)}, "cannot tell"),
        ({"margin": e(0.5, -0.1, 1.0)}, "cannot tell"),
        ({"margin_control": 31.0}, "cannot tell"),
        ({"margin_share": e(0.06, 0.04, 0.08)}, "cannot tell"),
        ({"translator_images": 999}, "cannot tell"),
        ({"images": 99}, "cannot tell"),
        ({"effective_images": 49.0}, "cannot tell"),
        ({"follow_share": e(0.7, 0.6, 0.8)}, "partial"),
        ({"carried_share": e(0.62, 0.55, 0.7)}, "partial"),
        # Seen by the logits as well as by what they ignore: whatever a translator happens to read it from.
        ({"probe_principal": e(0.95), "probe_gain": e(0.02, 0.0, 0.04)}, "redundant"),
        ({"carried_share": e(0.2, 0.15, 0.25)}, "cannot tell"),
        ({"carried_share": e(0.2, 0.15, 0.25), "probe_principal": e(0.5)}, "redundant"),
        ({"follow_q": 0.2, "probe_principal": e(0.5)}, "redundant"),
        ({"carried_share": e(0.0, -0.05, 0.05), "probe_null": e(0.2, 0.1, 0.3)}, "cannot tell"),
        ({"probe_null": e(0.0, -0.1, 0.1)}, "cannot tell"),
        ({"probe_null": e(0.0, -0.1, 0.1), "margin_share": e(0.02, 0.0, 0.04)}, "not detected"),
        ({"probe_null": e(0.5, 0.4, 0.6), "margin_share": e(0.02, 0.0, 0.04)}, "cannot tell"),
        ({"probe_null": e(0.0, -0.1, 0.1), "margin_share": e(0.08, 0.0, 0.12)}, "cannot tell"),
        (USED, "not detected"),
        (USED | {"carried_share": e(0.0, -0.2, 0.2)}, "cannot tell"),
        (USED | {"follow_normalised": e(0.05, 0.0, 0.2)}, "cannot tell"),
        (USED | {"probe_null": e(0.6)}, "redundant"),
        # Found in both parts, and the logits see it as well as all features do; or they see it less well.
        (USED | {"probe_null": e(0.36, 0.33, 0.38), "probe_gain": e(-0.1, -0.15, -0.07)}, "redundant"),
        (USED | {"probe_null": e(0.36, 0.33, 0.38), "probe_gain": e(0.1, 0.05, 0.17)}, "cannot tell"),
        (USED | {"probe_null": e(0.2, 0.1, 0.3), "probe_gain": e(-0.1, -0.15, -0.07)}, "cannot tell"),
        (
            USED | {"probe_null": e(0.36, 0.33, 0.38), "probe_gain": e(0.0, -0.1, 0.1), "probe_principal": e(0.1)},
            "cannot tell",
        ),
    ],
)
def test_first_rule_that_applies_decides(change, finding):
    found, why = decide(replace(LEAK, **change))
    assert found == finding, why
    assert why


@pytest.mark.parametrize(
    "name", [f for f, kind in Evidence.__dataclass_fields__.items() if kind.type in ("Estimate", "float")]
)
@pytest.mark.parametrize("base", [{}, USED])
def test_not_a_number_never_strengthens_a_finding(name, base):
    known = replace(LEAK, **base)
    value = math.nan if isinstance(getattr(LEAK, name), float) else e(math.nan)
    found, sure = decide(replace(known, **{name: value}))[0], decide(known)[0]
    weaker = {
        "strong": ("strong", "partial", "redundant", "cannot tell"),
        "not detected": ("not detected", "cannot tell"),
    }
    assert found in weaker[sure]
    if name in ("effective_images", "r2", "readable", "margin", "margin_share", "carried_share"):
        assert found == "cannot tell"


def test_instability_is_a_contradiction_not_a_lack_of_power():
    assert unstable("strong", ("strong", "not detected"))
    assert unstable("not detected", ("partial", "not detected"))
    assert not unstable("strong", ("partial", "strong"))
    assert not unstable("strong", ("cannot tell", "strong"))
    assert not unstable("cannot tell", ("strong", "not detected"))


def test_sentences_speak_of_what_the_head_ignores():
    assert "ignored by the head" in sentence("colour", "strong", e(0.9))
    assert "used" not in sentence("colour", "not detected", None)
