"""What theory says of planted attributes: found, absent, turned, scaled, rare, listed and never seen."""

from dataclasses import replace

import numpy as np
import pytest
from linear_worlds import WIDTH, world

from singaudit.language.concepts import numbered_group
from singaudit.language.translators.fit import fit
from singaudit.metrics.changes import adjusted_p
from singaudit.metrics.control_run import run_controls
from singaudit.metrics.judge import judge_groups
from singaudit.metrics.measure import measure
from singaudit.metrics.scores import unit
from singaudit.metrics.values import read_values


def audited(subject):
    measured = measure(subject)
    found = judge_groups(subject, measured, run_controls(subject, measured))
    return measured, {j.group.of.name: j for j in found}


@pytest.fixture(scope="module")
def planted():
    return world(null=("hue", "both"), seen=("form", "both"), other=("none",))


def test_planted_attributes_are_told_apart(planted):
    _, found = audited(planted)
    assert {name: j.finding for name, j in found.items()} == {
        "hue": "strong",
        "both": "redundant",
        "form": "not detected",
        "none": "not detected",
        "class": "not detected",
    }


def test_too_few_images_cannot_tell():
    _, found = audited(world(n=400, null=("hue",), other=("none",)))
    assert {j.finding for j in found.values()} == {"cannot tell"}
    _, found = audited(world(n=90, probe=1500, null=("hue",)))
    assert {j.finding for j in found.values()} == {"cannot tell"}


def test_a_shuffled_translator_cannot_tell(planted):
    order = np.random.default_rng(0).permutation(len(planted.embeddings))
    shuffled = fit(planted.features, planted.embeddings[order], planted.sha256, planted.space)
    _, found = audited(replace(planted, fitted=shuffled))
    assert {j.finding for j in found.values()} == {"cannot tell"}


def numbers(measured):
    for group in (each.numbers for each in measured.groups):
        carried = group.carried
        for e in (
            carried.margin,
            carried.carried_share,
            carried.follow,
            group.probe,
            group.probe_null,
            group.probe_principal,
        ):
            yield from (e.value, e.low, e.high)


@pytest.mark.parametrize("change", [{"turn": True}, {"scale": 1e-3}, {"scale": 1e4}])
def test_basis_of_the_features_and_scale_of_the_head_change_nothing(planted, change):
    other = world(null=("hue", "both"), seen=("form", "both"), other=("none",), **change)
    np.testing.assert_allclose(list(numbers(measure(other))), list(numbers(measure(planted))), atol=2e-3)


def test_permuted_classes_change_nothing(planted):
    order = np.random.default_rng(3).permutation(5)
    renamed = replace(
        planted,
        class_of=np.argsort(order)[planted.class_of],
        class_texts=planted.class_texts[order],
        groups=tuple(
            replace(g, texts=g.texts[order], second_texts=g.texts[order], labels=np.argsort(order)[g.labels])
            if g.kind == "class"
            else g
            for g in planted.groups
        ),
    )
    ours, theirs = measure(planted), measure(renamed)
    np.testing.assert_allclose(theirs.attribute_score, ours.attribute_score, atol=1e-9)
    # Donors of a class are its next images whatever its number.
    np.testing.assert_allclose(list(numbers(theirs)), list(numbers(ours)), atol=1e-9)


def test_order_of_the_images_changes_nothing(planted):
    rows = np.random.default_rng(4).permutation(len(planted.features))
    moved = replace(
        planted,
        features=planted.features[rows],
        embeddings=planted.embeddings[rows],
        sha256=[planted.sha256[i] for i in rows],
        class_of=planted.class_of[rows],
        groups=tuple(replace(g, labels=g.labels[rows]) for g in planted.groups),
        fitted=fit(planted.features[rows], planted.embeddings[rows], [planted.sha256[i] for i in rows], planted.space),
    )
    np.testing.assert_allclose(list(numbers(measure(moved))), list(numbers(measure(planted))), atol=1e-6)


def test_copies_that_are_not_recognised_leave_means_and_narrow_intervals(planted):
    # Copies with the same bytes are left out before; re-encoded ones count as images of their own.
    rows = np.repeat(np.arange(len(planted.features)), 2)
    twice = replace(
        planted,
        features=planted.features[rows],
        embeddings=planted.embeddings[rows],
        sha256=[planted.sha256[i] + str(copy % 2) for copy, i in enumerate(rows)],
        class_of=planted.class_of[rows],
        groups=tuple(replace(g, labels=g.labels[rows]) for g in planted.groups),
        fitted=replace(planted.fitted, fold=planted.fitted.fold[rows]),
    )
    ours, theirs = measure(planted), measure(twice)
    np.testing.assert_allclose(theirs.image_score[::2], ours.image_score, atol=1e-9)
    for one, two in zip(ours.groups, theirs.groups, strict=True):
        for name in ("margin", "contrast"):  # a share of no margin has no width to compare
            a, b = getattr(one.numbers.carried, name), getattr(two.numbers.carried, name)
            assert (b.n, b.value) == (2 * a.n, pytest.approx(a.value, abs=1e-9))
            assert (b.high - b.low) / (a.high - a.low) == pytest.approx(0.5**0.5, rel=0.15)


def test_a_rare_value_is_judged_like_any_other_or_not_at_all():
    _, found = audited(world(null=("hue",), seen=("form",), values=2, shares=(0.95, 0.05)))
    assert found["hue"].finding == "strong"
    assert found["form"].finding in ("not detected", "cannot tell")
    _, found = audited(world(n=400, probe=3000, null=("hue",), values=2, shares=(0.98, 0.02)))
    assert found["hue"].finding == "cannot tell"
    assert "too few images show" in found["hue"].rule


def test_listed_values_that_no_image_has_change_nothing(planted):
    extra = unit(np.random.default_rng(5).normal(size=(6, WIDTH)))
    wider = replace(
        planted,
        groups=tuple(
            replace(g, texts=np.concatenate([g.texts, extra]), second_texts=np.concatenate([g.texts, extra]))
            for g in planted.groups
        ),
    )
    np.testing.assert_allclose(list(numbers(measure(wider))), list(numbers(measure(planted))), atol=1e-12)


def test_unlabelled_images_count_for_nothing(planted):
    labels = planted.groups[0].labels.copy()
    labels[::3] = -1
    some = measure(replace(planted, groups=(replace(planted.groups[0], labels=labels),)))
    assert some.groups[0].numbers.carried.margin.n == np.count_nonzero(labels >= 0)
    assert some.groups[0].numbers.carried.carried_share.value == pytest.approx(
        measure(planted).groups[0].numbers.carried.carried_share.value, abs=0.05
    )


@pytest.mark.parametrize("labelled", [True, False])
def test_scores_that_are_made_anew_read_as_those_that_are_kept(planted, monkeypatch, labelled):
    group = next(g for g in planted.groups if g.kind == "group")
    group = replace(group, labels=group.labels if labelled else None)
    kept = read_values(planted, group)
    monkeypatch.setattr("singaudit.metrics.values._KEPT", 0)
    again = read_values(planted, group)
    assert np.array_equal(kept.own, again.own)
    assert np.array_equal(kept.readable, again.readable)
    monkeypatch.setattr("singaudit.metrics.values.BLOCK", 100)
    assert np.array_equal(kept.readable, read_values(planted, group).readable)


def test_fewer_than_two_values_cannot_tell(planted):
    labels = np.zeros(len(planted.features), np.intp)
    measured, found = audited(replace(planted, groups=(replace(planted.groups[0], labels=labels),)))
    assert [group.numbers for group in measured.groups] == [None]
    assert found["hue"].finding == "cannot tell"


def test_single_concepts_are_told_apart_by_where_their_border_is():
    subject = world(null=("hue",), seen=("form",), values=2, shares=(0.7, 0.3), loud=4.0)
    # An image "of nothing" is far from everything here, so every image is closer to the concept's text.
    absent = unit(np.random.default_rng(8).normal(size=(1, WIDTH)))
    singles = tuple(
        replace(
            g,
            texts=np.concatenate([g.texts[1:2], absent]),
            second_texts=np.concatenate([g.texts[1:2], absent]),
            labels=None,
            group=replace(g.group, kind="concept"),
        )
        for g in subject.groups[:2]
    )
    never = replace(
        singles[0],
        group=numbered_group("never", 2, "concept"),
        texts=unit(np.random.default_rng(9).normal(size=(2, WIDTH))),
    )
    never = replace(never, second_texts=never.texts)
    for single, group in zip(singles, subject.groups, strict=False):
        own = read_values(subject, single).own
        assert np.mean((own == 0) == (group.labels == 1)) > 0.97
    _, found = audited(replace(subject, groups=(*singles, never)))
    assert (found["hue"].finding, found["form"].finding) == ("strong", "not detected")
    assert found["never"].finding == "cannot tell"
    assert not found["never"].readable


def test_the_chance_of_following_leaves_the_image_itself_out():
    # 100 classes, 500 images, features that know nothing of the attribute: what is read is independent of the donor.
    rng = np.random.default_rng(0)
    excess = []
    for seed in range(6):
        subject = world(seed=seed, n=500, other=("none",))
        texts = unit(rng.normal(size=(100, WIDTH)))
        subject = replace(subject, class_of=rng.integers(100, size=500), class_texts=texts, groups=subject.groups[:1])
        excess.append(measure(subject).groups[0].numbers.carried.follow_normalised.value)
    assert abs(np.mean(excess)) < 3 * np.std(excess, ddof=1) / np.sqrt(6) + 0.01
    assert abs(np.mean(excess)) < 0.05


def test_a_two_class_head_is_judged_against_its_controls():
    subject = world(null=("hue",), other=("none",))
    # Nearly everything is null: only the first principal direction stays visible.
    from singaudit.classifier.interface import Head
    from singaudit.geometry.null_space import null_space

    weight = np.random.default_rng(0).normal(size=(2, subject.space.feature_dim))
    head = Head(weight, np.zeros(2), "float32", None, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True)
    subject = replace(subject, space=null_space(head))
    measured = measure(subject)
    families = run_controls(subject, measured)
    assert subject.space.null_dim == subject.space.feature_dim - 2
    placed = families[1].groups["hue"]["contrast_deg"]
    # Any subspace of all but two dimensions carries it: the control says that this contrast is nothing special.
    assert placed.low <= placed.observed <= placed.high


def test_benjamini_hochberg_against_its_definition():
    p = np.array([0.001, 0.04, 0.03, np.nan, 0.9, 0.2])
    q = adjusted_p(p)
    tested = np.sort(p[np.isfinite(p)])
    for value, adjusted in zip(p, q, strict=True):
        if np.isnan(value):
            assert adjusted == 1
            continue
        rank = np.searchsorted(tested, value) + 1
        truth = min(min(tested[k - 1] * len(tested) / k for k in range(rank, len(tested) + 1)), 1)
        assert adjusted == pytest.approx(truth)


def test_many_absent_concepts_give_no_false_leak():
    subject = world(n=1200, other=tuple(f"word {i}" for i in range(40)))
    _, found = audited(subject)
    assert not [j for name, j in found.items() if name != "class" and j.finding in ("strong", "partial")]


def test_where_every_image_agrees_an_interval_is_no_point():
    # The class group shows in every image and is read in all: of 1,500 images that does not make certainty.
    subject = world(null=("hue",), values=2, loud=3.0)
    measured = measure(subject).groups[0]
    group, effective = measured.numbers, measured.values.effective_images
    assert group.carried.follow.value == group.readable.value == group.probe_null.value == 1
    assert group.carried.follow.low == pytest.approx(effective / (effective + 1.96**2), rel=1e-4)
    for normalised in (group.readable, group.probe_null, group.carried.follow_normalised):
        assert 0.99 < normalised.low < 1
        assert normalised.high == 1
