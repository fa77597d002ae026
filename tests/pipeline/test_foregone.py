"""What cannot be found is said before the first image is decoded."""

from types import SimpleNamespace

import numpy as np
import pytest

from singaudit.config import make_config
from singaudit.dataset.generated.source import ShapesSource
from singaudit.language.concepts import Group, class_group
from singaudit.pipeline import audit as audit_module
from singaudit.pipeline.audit import audit
from singaudit.pipeline.passes.asked import Asked
from singaudit.pipeline.passes.foregone import foregone
from singaudit.report.gates.rules import parse_rules

CLASSES = class_group(("dog", "cat"))
COLOUR = Group("colour", ("red", "blue"), "a {} thing")
SPACE = SimpleNamespace(null_dim=6, feature_dim=8)


def asked(count, probe=0, **known):
    values = {"labels": None, "labels_source": "none", "own": {}, "scenes": None} | known
    return Asked(ShapesSource(count), count, ShapesSource(probe) if probe else None, probe, **values)


def said(found, groups=(CLASSES, COLOUR), rules=(), given=False, space=SPACE):
    return "\n".join(foregone(found, groups, space, parse_rules(tuple(rules)), given))


def test_nothing_is_said_where_all_is_there():
    labels = [0, 1] * 1000
    assert said(asked(2000, labels=labels), rules=["default"]) == ""
    assert said(asked(400, probe=5000, labels=labels[:400]), rules=["default"]) == ""


@pytest.mark.parametrize(
    ("found", "match"),
    [
        (asked(120, probe=5000), "120 images are audited, at least 300"),
        (asked(500), "rest on 500 images, at least 1000 are needed; add unlabelled ones"),
        (asked(2000, probe=400), "rest on 400 images"),
        (asked(2000, scenes=np.arange(2000) // 40), "show 50 scenes"),
    ],
)
def test_too_few_images_or_scenes_are_told_with_what_would_help(found, match):
    text = said(found)
    assert match in text
    assert "--geometry-only" in text


def test_a_translator_that_is_given_needs_no_images():
    assert said(asked(500), given=True) == ""


def test_labels_that_name_one_value_and_texts_that_say_two_the_same_are_told():
    own = {"colour": np.array([0] * 1990 + [1] * 3 + [-1] * 7)}
    assert "about colour: fewer than two of its values are labelled" in said(asked(2000, own=own))
    twins = Group("food", ("ice cream", "ice_cream", "tea"), "a {}")
    assert "both said as 'an image of an ice cream'" in said(asked(2000), (twins,))


def test_without_labels_the_ready_policy_is_told_to_stay_undecided():
    assert "no true labels" in said(asked(2000), rules=["default"])
    assert "no true labels" not in said(asked(2000), rules=["geometry.null_dim < 9"])


def test_a_head_without_null_space_is_told():
    assert "no logit null space" in said(asked(2000), space=SimpleNamespace(null_dim=0, feature_dim=8))


class StopError(Exception):
    pass


def test_an_audit_tells_before_it_looks_at_an_image(monkeypatch):
    def look(*arguments, **options):
        raise StopError

    monkeypatch.setattr(audit_module, "observe_images", look)
    told = []
    with pytest.raises(StopError):
        audit(make_config(model="builtin:leaky", images="shapes:150", vlm="builtin:shapes"), warn=told.append)
    assert any("150 images" in text for text in told)


def test_geometry_only_looks_at_no_image(monkeypatch):
    def look(*arguments, **options):
        raise AssertionError

    monkeypatch.setattr(audit_module, "observe_images", look)
    config = make_config(model="builtin:leaky", images="shapes:150", vlm="builtin:shapes", geometry_only=True)
    found = audit(config)
    assert found.exit_code == 4
    assert "--geometry-only" in found.result.not_evaluated[0]
