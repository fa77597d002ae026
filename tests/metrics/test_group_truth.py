"""A group's null-follow, its chance and its probes, against loops over images in float64."""

from dataclasses import replace

import numpy as np
import pytest
from linear_worlds import world

from singaudit.classifier.interface import Head
from singaudit.geometry.null_space import null_space
from singaudit.language.translators.fit import FOLDS, fit, fold_of
from singaudit.metrics.donors import find_donors
from singaudit.metrics.measure import measure
from singaudit.metrics.subject import blocks
from singaudit.metrics.values import arrange, read_values

SHARES = (0.4, 0.3, 0.2, 0.1)


@pytest.fixture(scope="module")
def measured():
    subject = world(n=600, null=("hue",), seen=("form",), shares=SHARES)
    return subject, measure(subject)


def weights_of(own):
    counts = np.bincount(own)
    return (len(own) / (np.count_nonzero(counts) * counts))[own]


def translated(subject, i, null_of):
    """T of image i with the null component of another one."""
    f = subject.features.astype(np.float64)
    mixed = subject.space.principal_part(f[[i]]) + subject.space.null_part(f[[null_of]])
    return subject.fitted.translators[subject.fitted.fold[i]](mixed)[0]


def layout_of(subject, g):
    return arrange([subject.groups[g]], [read_values(subject, subject.groups[g])])


@pytest.mark.parametrize("g", [0, 1, 2])
def test_null_follow_and_its_chance_are_those_of_a_loop(measured, g):
    subject, found = measured
    group, (block,) = subject.groups[g], blocks(subject)
    donors = find_donors(block, subject.class_of[block.rows], layout_of(subject, g))
    own, weight = group.labels, weights_of(group.labels)
    texts = group.texts - group.texts.mean(axis=0)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    read = np.stack([translated(subject, i, i) for i in range(len(own))])
    # Half way between the values, each of which counts equally.
    middle = np.mean([read[own == v].mean(axis=0) for v in range(len(texts))], axis=0)
    hits = chance = total = right = 0.0
    for row, i in enumerate(block.rows):
        right += weight[i] * (np.argmax(texts @ (read[i] - middle)) == own[i])
        other, same = donors.other[row, 0], donors.same[row, 0]
        if other < 0 or same < 0:
            continue
        wanted = own[block.rows[other]]
        swapped = [translated(subject, i, block.rows[j]) for j in (other, same)]
        one, two = (np.argmax(texts @ (z - middle)) == wanted for z in swapped)
        hits, chance, total = hits + weight[i] * one, chance + weight[i] * two, total + weight[i]
    follow, chance, right = hits / total, chance / total, right / weight.sum()
    carried, values = found.groups[g].numbers.carried, len(group.texts)
    assert carried.follow.value == pytest.approx(follow, abs=1e-9)
    assert carried.follow_chance == pytest.approx(chance, abs=1e-9)
    normalised = (follow - chance) / (1 - chance)
    assert carried.follow_normalised.value == pytest.approx(normalised, abs=1e-9)
    assert carried.follow_share.value == pytest.approx(normalised / ((right - 1 / values) / (1 - 1 / values)), abs=1e-9)


def test_donors_are_of_the_fold_and_class_of_another_unit_and_with_the_value_that_is_wanted(measured):
    subject, _ = measured
    pairs = replace(subject, units=np.arange(len(subject.features)) // 2)
    (block,) = blocks(pairs)
    classes = pairs.class_of[block.rows]
    own = pairs.groups[0].labels[block.rows]
    donors = find_donors(block, classes, layout_of(pairs, 0))
    assert donors.usable.all()
    for chosen, same in ((donors.other[:, 0], False), (donors.same[:, 0], True)):
        assert (block.units[chosen] != block.units).all()
        assert (block.fold[chosen] == block.fold).all()
        assert ((own[chosen] == own) == same).all()
        assert (classes[chosen] == classes)[donors.within[:, 0]].all()
    assert donors.within.mean() > 0.9


def test_with_an_image_or_two_of_each_class_donors_are_near_in_what_the_logits_see():
    subject = world(n=500, null=("hue",))
    subject = replace(subject, class_of=np.arange(500))
    (block,) = blocks(subject)
    donors = find_donors(block, subject.class_of[block.rows], layout_of(subject, 0))
    seen = block.features - block.null
    apart = np.linalg.norm(seen - seen[donors.other[:, 0]], axis=1)
    anyone = np.linalg.norm(seen - seen[block.others], axis=1)
    assert apart.mean() < 0.6 * anyone.mean()
    assert not donors.within.any()


def test_images_of_a_unit_are_in_one_fold_and_no_donors_of_each_other(measured):
    subject, _ = measured
    pairs = replace(subject, units=np.arange(len(subject.features)) // 3)
    fold = fold_of(pairs.keys)
    assert all(len(set(fold[pairs.units == u])) == 1 for u in range(20))
    (block,) = blocks(replace(pairs, fitted=replace(pairs.fitted, fold=fold)))
    assert (np.diff(np.flatnonzero(np.diff(block.units, prepend=-1))) == 3).all()
    assert (block.units[block.others] != block.units).all()


@pytest.mark.parametrize("g", [0, 1])
def test_probes_are_read_where_they_were_not_fitted(measured, g):
    subject, found = measured
    f = subject.features.astype(np.float64)
    null = subject.space.null_part(f)
    own, fold, weight = subject.groups[g].labels, fold_of(subject.sha256), weights_of(subject.groups[g].labels)
    accuracy = []
    for part in (f, f - null, null):
        right = np.zeros(len(f))
        for k in range(FOLDS):
            train = fold != k
            # The penalty is that of the whole features, for every part of them.
            centred, whole = part[train] - part[train].mean(axis=0), f[train] - f[train].mean(axis=0)
            scatter = centred.T @ centred + 1e-3 * np.trace(whole.T @ whole) / f.shape[1] * np.eye(f.shape[1])
            means = np.stack([part[train & (own == v)].mean(axis=0) for v in range(len(SHARES))])
            # Least squares on one-hot columns over the share of a value: scatter^-1 n (mean of the value - mean).
            weights = np.linalg.solve(scatter, np.count_nonzero(train) * (means - part[train].mean(axis=0)).T)
            middle = (means + part[train].mean(axis=0)) / 2
            scores = part[~train] @ weights - np.einsum("vm,mv->v", middle, weights)
            right[~train] = np.argmax(scores, axis=1) == own[~train]
        accuracy.append((np.average(right, weights=weight) - 0.25) / 0.75)
    group = found.groups[g].numbers
    probes = [group.probe.value, group.probe_principal.value, group.probe_null.value]
    np.testing.assert_allclose(probes, accuracy, atol=1e-9)
    gain = (accuracy[0] - accuracy[1]) / accuracy[0]
    assert group.probe_gain.value == pytest.approx(gain, abs=1e-9)


def test_probes_of_labels_without_any_relation_to_the_features_are_at_chance():
    # Many features, few images: a probe that had seen the images it reads would be perfect.
    subject = world(n=150, other=("none",), values=2)
    rng = np.random.default_rng(0)
    wide = np.concatenate([subject.features, rng.normal(size=(150, 400)).astype(np.float32)], axis=1)
    head = Head(rng.normal(size=(5, wide.shape[1])), np.zeros(5), "float32", None, "Gemm", ("fc",), "f", "y", 0.0,
                "softmax", True)  # fmt: skip
    space = null_space(head)
    subject = replace(
        subject,
        features=wide,
        space=space,
        groups=subject.groups[:1],
        fitted=fit(wide, subject.embeddings, subject.sha256, space),
    )
    group = measure(subject).groups[0].numbers
    for probe in (group.probe, group.probe_principal, group.probe_null):
        assert abs(probe.value) < 0.35
        assert probe.low < 0 < probe.high


def test_a_margin_varies_by_what_differs_within_values_not_between_them(measured):
    subject, found = measured
    own, margin = subject.groups[0].labels, found.groups[0].margin
    values = range(len(SHARES))
    error = np.sqrt(sum(margin[own == v].var() / np.count_nonzero(own == v) for v in values)) / len(SHARES)
    e = found.groups[0].numbers.carried.margin
    assert (e.high - e.low) / 3.92 == pytest.approx(error, rel=0.08)
    # What values weigh varies from draw to draw; margins of values differ by what their texts have in common.
    assert np.std([margin[own == v].mean() for v in values]) > margin[own == 0].std()


def test_null_follow_varies_by_its_donors(measured):
    subject, found = measured
    (block,) = blocks(subject)
    donors = find_donors(block, subject.class_of[block.rows], layout_of(subject, 1))
    own, weight = subject.groups[1].labels, weights_of(subject.groups[1].labels)[block.rows]
    texts = subject.groups[1].texts - subject.groups[1].texts.mean(axis=0)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    read = np.stack([translated(subject, i, i) for i in range(len(own))])
    middle = np.mean([read[own == v].mean(axis=0) for v in range(len(texts))], axis=0)
    swapped = np.stack(
        [translated(subject, i, block.rows[d]) for i, d in zip(block.rows, donors.other[:, 0], strict=True)]
    )
    hit = np.argmax((swapped - middle) @ texts.T, axis=1) == own[block.rows[donors.other[:, 0]]]
    weight = weight * donors.usable[:, 0]
    e = found.groups[1].numbers.carried.follow
    assert e.value == pytest.approx(np.average(hit, weights=weight), abs=1e-9)
    lent = np.bincount(donors.other[:, 0], weight * (hit - e.value), minlength=len(own))
    assert (e.high - e.low) / 3.92 == pytest.approx(np.sqrt(np.sum(lent**2)) / weight.sum(), rel=0.08)
