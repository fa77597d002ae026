"""Numbers of a rare value do not depend on how images are cut into blocks, some of which do not show it."""

from dataclasses import replace

import numpy as np
import pytest
from linear_worlds import world

from singaudit.metrics import borders, intervals, subject, values
from singaudit.metrics.measure import measure
from singaudit.metrics.scores import text_angles, unit


@pytest.fixture
def rare():
    """2,000 images, some 30 of which have the second value; all images are closer to the first one's text."""
    found = world(n=2000, null=("hue",), values=2, shares=(0.985, 0.015))
    group = found.groups[0]
    texts = group.texts.copy()
    texts[0] = unit((texts[0] + unit(found.embeddings.mean(axis=0)[None])[0])[None])[0]
    return replace(found, groups=(replace(group, texts=texts, second_texts=texts),))


def cut_into(block, monkeypatch):
    for module in (borders, intervals, subject, values):
        monkeypatch.setattr(module, "BLOCK", block)


def numbers(found):
    group = measure(found).groups[0].numbers
    sets = (group.carried, *group.halves)
    return [e.value for c in sets for e in (c.margin, c.margin_share, c.contrast, c.carried_share)] + [
        group.margin_encoder.value
    ]


@pytest.mark.parametrize("block", [512, 100])
def test_blocks_without_a_value_change_no_margin(rare, block, monkeypatch):
    whole = numbers(rare)
    cut_into(block, monkeypatch)
    np.testing.assert_allclose(numbers(rare), whole, rtol=1e-9)


def test_margins_are_those_of_both_values_images_apart(rare, monkeypatch):
    cut_into(100, monkeypatch)
    group, found = rare.groups[0], measure(rare).groups[0].numbers
    translators, fold = rare.fitted.translators, rare.fitted.fold
    null_means = [rare.space.null_part(t.mean[None])[0] for t in translators]
    margins = []
    for equivalent in (False, True):
        by_value = []
        for value in (0, 1):
            angles = []
            for i in np.flatnonzero(group.labels == value):
                f = rare.features[i].astype(np.float64)
                if equivalent:
                    f = f - rare.space.null_part(f[None])[0] + null_means[fold[i]]
                own = text_angles(translators[fold[i]](f[None]), group.texts)[0]
                angles.append(own[1 - value] - own[value])
            by_value.append(np.mean(angles))
        margins.append(np.mean(by_value))
    assert found.carried.margin.value == pytest.approx(margins[0], abs=1e-9)
    assert found.carried.carried_share.value == pytest.approx(1 - margins[1] / margins[0], abs=1e-9)


def test_what_is_read_does_not_depend_on_the_blocks(rare, monkeypatch):
    whole = measure(rare).groups[0].numbers.carried.follow_share
    cut_into(100, monkeypatch)
    # Donors do, they are of the same block; the border between both values must not.
    assert measure(rare).groups[0].numbers.carried.follow_share.value == pytest.approx(whole.value, abs=0.05)
