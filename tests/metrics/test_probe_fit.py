"""How much each image moves a probe's accuracy as one that it is fitted on, against fits with its weight changed."""

import math
from dataclasses import replace

import numpy as np
import pytest
from linear_worlds import world

from singaudit.language.translators.fit import FOLDS, fold_of
from singaudit.metrics import probes
from singaudit.metrics.beyond_class import compare_within
from singaudit.metrics.measure import measure
from singaudit.metrics.probe_fit import SMOOTH
from singaudit.metrics.rotated import Rotated
from singaudit.metrics.values import arrange, read_values


def noisy(subject):
    """Half of the labels of the first group are drawn anew, so that no probe reads all of them."""
    rng = np.random.default_rng(5)
    group = subject.groups[0]
    labels = np.where(rng.random(len(group.labels)) < 0.5, rng.permutation(group.labels), group.labels)
    return replace(subject, groups=(replace(group, labels=labels), *subject.groups[1:]))


def scores_of(x, own, amount, test, penalty):
    """Scores (t, v) of rows ``test`` by the discriminant fitted on rows ``x``, each counting ``amount`` times."""
    n, values = amount.sum(), own.max() + 1
    mean = amount @ x / n
    means = np.stack([(amount * (own == v)) @ x / (amount * (own == v)).sum() for v in range(values)])
    scatter = (x - mean).T @ (amount[:, None] * (x - mean)) + penalty * n * np.eye(x.shape[1])
    weight = n * np.linalg.solve(scatter, (means - mean).T)
    return test @ weight - np.einsum("vm,mv->v", (means + mean) / 2, weight)


def smoothed(scores, own, weight, width=None):
    """(weighted sum of smoothed hits, width of the kernel): as if each margin were known up to a normal error."""
    mine = scores[np.arange(len(own)), own]
    rival = np.where(np.arange(scores.shape[1]) == own[:, None], -np.inf, scores).max(axis=1)
    width = SMOOTH * (mine - rival).std() if width is None else width
    hits = [(1 + math.erf(m / width / math.sqrt(2))) / 2 for m in mine - rival]
    return float(weight @ hits), width


@pytest.mark.parametrize("p", [0, 1, 2])
def test_influences_are_the_derivatives_by_the_weight_of_an_image(p, monkeypatch):
    penalty = 0.03
    monkeypatch.setattr(probes, "PENALTIES", (penalty,))
    subject = noisy(world(n=250, null=("hue",), values=3, shares=(0.5, 0.3, 0.2)))
    layout = arrange(subject.groups[:1], [read_values(subject, subject.groups[0])])
    fold, rotated = fold_of(subject.keys), Rotated(subject.features, subject.space)
    within = compare_within(layout, subject.class_of, subject.unit_of)
    found = probes.read_by_probes(rotated, layout, within, fold, 250).fitting[p, :, 0]
    part = rotated.parts()[p]
    whole = subject.features.astype(np.float64) @ rotated.basis
    x, own, weight = whole[:, part], layout.own[:, 0], layout.weight(layout.own)[:, 0]

    def moved(image):
        """Central difference of the sum over the folds that the image is not in."""
        total = 0.0
        for k in set(range(FOLDS)) - {fold[image]}:
            train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            per_image = penalty * whole[train].var(axis=0).mean()
            amount = np.ones(len(train))
            _, width = smoothed(scores_of(x[train], own[train], amount, x[test], per_image), own[test], weight[test])
            ends = []
            for change in (1e-4, -1e-4):
                amount[train == image] = 1 + change
                scores = scores_of(x[train], own[train], amount, x[test], per_image)
                ends.append(smoothed(scores, own[test], weight[test], width)[0])
            total += (ends[0] - ends[1]) / 2e-4
        return total

    some = list(range(0, 250, 25))
    np.testing.assert_allclose(found[some], [moved(image) for image in some], atol=2e-5)
    assert np.abs(found).max() > 0.01
    assert found.sum() == pytest.approx(0, abs=1e-4)


def test_intervals_of_probes_are_as_wide_as_audits_differ():
    whole = noisy(world(n=300 * 40, null=("hue",), other=("none",), values=2))
    found = []
    for audit in range(40):
        rows = slice(300 * audit, 300 * (audit + 1))
        one = replace(
            whole,
            features=whole.features[rows],
            embeddings=whole.embeddings[rows],
            sha256=whole.sha256[rows],
            class_of=whole.class_of[rows],
            fitted=replace(whole.fitted, fold=whole.fitted.fold[rows]),
            groups=tuple(replace(g, labels=g.labels[rows]) for g in whole.groups[:2]),
            seed=audit,
        )
        found.append([(g.numbers.probe, g.numbers.probe_null) for g in measure(one).groups])
    for estimates in zip(*(sum(one, ()) for one in found), strict=True):
        spread = np.std([e.value for e in estimates], ddof=1)
        claimed = np.mean([e.high - e.low for e in estimates]) / 3.92
        assert 0.8 < claimed / spread < 1.5
