"""The search for natural pairs is exact, bounded, and gives each image once."""

import itertools

import numpy as np
import pytest

from singaudit.classifier.interface import Head
from singaudit.geometry.null_space import null_space
from singaudit.metrics.scores import unit
from singaudit.pictures import natural_pairs as module
from singaudit.pictures.natural_pairs import natural_pairs, natural_partners
from singaudit.pictures.units import Units


@pytest.fixture(scope="module", params=[3, 1])
def world(request):
    rng = np.random.default_rng(request.param)
    n, m, d, c = 260, 10, 6, request.param
    weight = np.float32(rng.normal(size=(c, m))).astype(np.float64)
    features = rng.normal(size=(n, m))
    space = null_space(Head(weight, np.zeros(c), "float32", None, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True))
    return features, features @ weight.T, unit(rng.normal(size=(n, d))), space


def slow(features, logits, z, space, typical, count, tolerance, least):
    """Every pair one by one, best first, no image twice."""
    spread, null = logits.std(axis=0), space.null_part(features)
    found = []
    for i, j in itertools.combinations(range(len(features)), 2):
        difference = np.max(np.abs(logits[i] - logits[j]) / spread)
        distance = np.linalg.norm(null[i] - null[j]) / typical
        if difference <= tolerance and distance >= least:
            found.append((-np.degrees(np.arccos(np.clip(z[i] @ z[j], -1, 1))), i, j, difference, distance))
    used, chosen = set(), []
    for pair in sorted(found):
        if not used & set(pair[1:3]) and len(chosen) < count:
            chosen.append(pair)
            used |= set(pair[1:3])
    return chosen, len(found)


@pytest.mark.parametrize("block", [16, 100, 1024])
@pytest.mark.parametrize("count", [1, 6])
def test_pairs_are_those_of_a_search_over_every_pair(world, monkeypatch, block, count):
    monkeypatch.setattr(module, "_BLOCK", block)
    features, logits, z, space = world
    order = np.random.default_rng(5).permutation(len(features))
    units = Units(logits.std(axis=0), 2.0)
    found = natural_pairs(features, logits, z, order, space, units, count=count, tolerance=0.3, min_null=1.2)
    truth, matched = slow(features, logits, z, space, 2.0, count, 0.3, 1.2)
    assert matched > 20
    assert [tuple(sorted((p.first, p.second))) for p in found] == [(i, j) for _, i, j, _, _ in truth]
    np.testing.assert_allclose([p.image_angle_deg for p in found], [-t[0] for t in truth], atol=1e-5)
    np.testing.assert_allclose([p.logit_difference for p in found], [t[3] for t in truth], rtol=1e-6)
    np.testing.assert_allclose([p.null_distance for p in found], [t[4] for t in truth], rtol=1e-6)
    place = np.argsort(order)
    assert all(place[p.first] < place[p.second] for p in found)


def test_one_image_in_thousands_of_pairs_does_not_crowd_the_others_out():
    rng = np.random.default_rng(0)
    kept = module._Kept(3)
    hub = np.column_stack([np.full(5000, 90.0), np.zeros(5000), np.arange(1, 5001), np.zeros(5000), np.ones(5000)])
    others = np.array([[80.0, 6000, 6001, 0, 1], [70.0, 6002, 6003, 0, 1], [60.0, 6004, 6005, 0, 1]])
    rows = rng.permutation(np.concatenate([hub, others]))
    for part in np.array_split(rows, 40):
        kept.add(part)
    assert kept.disjoint()[:, 1:3].tolist() == [[0, 1], [6000, 6001], [6002, 6003]]
    assert len(kept._pairs) <= 6 * 6 + 3


def test_no_pair_is_no_error(world):
    features, logits, z, space = world
    order = np.arange(len(features))
    units = Units(logits.std(axis=0), 2.0)
    assert natural_pairs(features, logits, z, order, space, units, count=3, tolerance=1e-9, min_null=1.0) == []


@pytest.mark.parametrize("block", [16, 1024])
def test_partners_of_one_image_are_those_of_a_search_over_all_others(world, monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    features, logits, z, space = world
    order = np.random.default_rng(6).permutation(len(features))
    units, row = Units(logits.std(axis=0), 2.0), 17
    asked = {"count": 4, "tolerance": 0.6, "min_null": 1.2}
    found, nearest = natural_partners(row, features, logits, z, order, space, units, **asked)
    truth, away = [], []
    for other in range(len(features)):
        difference = np.max(np.abs(logits[other] - logits[row]) / units.spread)
        distance = np.linalg.norm(space.null_part(features[other]) - space.null_part(features[row])) / 2.0
        if distance >= 1.2:
            away.append(difference)
            if difference <= 0.6:
                truth.append((-np.degrees(np.arccos(np.clip(z[other] @ z[row], -1, 1))), other))
    assert truth
    assert [(p.first, p.second) for p in found] == [(row, other) for _, other in sorted(truth)[:4]]
    assert nearest == pytest.approx(min(away))


def test_one_image_without_partners_says_how_near_the_others_come(world):
    features, logits, z, space = world
    order, units = np.arange(len(features)), Units(logits.std(axis=0), 2.0)
    found, nearest = natural_partners(3, features, logits, z, order, space, units, count=3, tolerance=0, min_null=1.2)
    assert found == []
    assert nearest > 0
    far = natural_partners(3, features, logits, z, order, space, units, count=3, tolerance=1, min_null=1e9)
    assert far == ([], None)
