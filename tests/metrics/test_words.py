"""Words in linear worlds whose truth is known: found where they were planted, nowhere else, and never of too few."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from singaudit.classifier.interface import Head
from singaudit.geometry.null_space import null_space
from singaudit.language.concepts import numbered_group
from singaudit.language.translators.fit import fit
from singaudit.metrics.changes import MIN_HALF, Changes, adjusted_p, benjamini_hochberg, judge_changes
from singaudit.metrics.subject import GroupTexts, Subject
from singaudit.metrics.words import find_words, without_unread

CLASSES, VALUES, DIM = 3, 4, 24


def world(seed, n=800, null=0.0, seen=0.0):
    """Features whose first dimensions the head sees; an attribute is planted in the null part, or not."""
    rng = np.random.default_rng(seed)
    weight = np.zeros((CLASSES, DIM), np.float32)
    weight[:, :CLASSES] = np.eye(CLASSES) * 2
    klass, value = rng.integers(CLASSES, size=n), rng.integers(VALUES, size=n)
    features = 0.3 * rng.standard_normal((n, DIM))
    features[np.arange(n), klass] += 2
    features[np.arange(n), 8 + value] += null
    # What both see of the attribute: a part of the dimensions that move logits.
    features[:, :CLASSES] += seen * np.eye(VALUES)[value][:, :CLASSES]
    basis = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    image = np.zeros((n, 40))
    image[:, :CLASSES] = 2 * np.eye(CLASSES)[klass]
    image[:, 8 : 8 + VALUES] = np.eye(VALUES)[value]
    image[:, 39] = 1
    z = (image + 0.05 * rng.standard_normal(image.shape)) @ basis
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    features = features.astype(np.float32)
    sha = [hashlib.sha256(f"{seed} {i}".encode()).hexdigest() for i in range(n)]
    space = null_space(
        Head(weight, np.zeros(CLASSES), "float32", None, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True)
    )
    texts = [basis[:CLASSES] + 0.2 * basis[39], basis[8 : 8 + VALUES] + 0.2 * basis[39]]
    texts = [t / np.linalg.norm(t, axis=1, keepdims=True) for t in texts]
    groups = tuple(
        GroupTexts(numbered_group(name, len(t)), t, t, own)
        for name, t, own in zip(("class", "colour"), texts, (klass, value), strict=True)
    )
    subject = Subject(
        features, z.astype(np.float32), sha, klass, texts[0], np.concatenate(texts), groups, space,
        fit(features, z, sha, space), 0,
    )  # fmt: skip
    return subject, [klass, value]


def test_a_planted_attribute_is_lost_in_every_value_and_a_class_is_not():
    subject, own = world(0, null=1.5)
    words = find_words(subject, own)
    assert words.shown.change[CLASSES:].tolist() == ["lost"] * VALUES
    assert "lost" not in words.shown.change[:CLASSES]
    assert (words.shown.high[CLASSES:] < words.shown.control[CLASSES:]).all()
    carried = words.carried
    assert (carried.share[:, 1] > 0.9).all()
    assert [carried.finding(c, 1, "strong") for c in range(CLASSES)] == ["strong"] * CLASSES
    # Never more than what was found over all images.
    assert carried.finding(0, 1, "cannot tell") == "cannot tell"


def test_the_order_of_images_and_of_groups_changes_nothing():
    subject, own = world(1, n=400, null=1.5)
    turned = np.random.default_rng(0).permutation(400)
    again = replace(
        subject,
        features=subject.features[turned],
        embeddings=subject.embeddings[turned],
        sha256=[subject.sha256[i] for i in turned],
        class_of=subject.class_of[turned],
        fitted=replace(subject.fitted, fold=subject.fitted.fold[turned]),
    )
    one, two = find_words(subject, own), find_words(again, [o[turned] for o in own])
    np.testing.assert_allclose(one.shown.value, two.shown.value, rtol=0, atol=1e-9)
    assert (one.by_class.change == two.by_class.change).all()


def test_what_is_not_there_is_not_found_and_too_few_images_cannot_tell():
    found = []
    for seed in range(12):
        words = find_words(*world(100 + seed, n=400))
        found += [*words.shown.change[CLASSES:], *words.absent.change[CLASSES:]]
    assert found.count("lost") + found.count("gained") == 0
    few = find_words(*world(3, n=2 * MIN_HALF, null=1.5))
    assert set(few.shown.change) == {"cannot tell"}
    assert np.isnan(few.shown.value).all()


def test_a_concept_of_one_class_is_judged_over_that_classs_images_that_show_it():
    subject, own = world(4, n=1600, null=1.5)
    words = find_words(subject, own, [(0, CLASSES), (1, CLASSES + 1)])
    assert words.asked.change.tolist() == ["lost", "lost"]
    assert (words.asked.n < 1600 / CLASSES / VALUES).all()
    fewer = find_words(*world(4, n=300, null=1.5), [(0, CLASSES)])
    assert fewer.asked.change.tolist() == ["cannot tell"]


def test_single_concepts_are_read_as_one_group():
    subject, own = world(5, null=1.5)
    singles = replace(subject, groups=subject.groups[:1])
    words = find_words(singles, own[:1])
    assert words.shown.change[CLASSES:].tolist() == ["lost"] * VALUES
    alone = replace(singles, concept_texts=subject.concept_texts[: CLASSES + 1])
    assert find_words(alone, own[:1]).shown.change[-1] == "cannot tell"


def test_benjamini_hochberg_agrees_with_scipy_and_leaves_out_what_was_not_tested():
    p = np.random.default_rng(0).uniform(size=200) ** 3
    np.testing.assert_array_equal(adjusted_p(p), false_discovery_control(p))
    np.testing.assert_array_equal(benjamini_hochberg(p), false_discovery_control(p) <= 0.05)
    assert not benjamini_hochberg(np.array([np.nan, 0.9])).any()
    assert benjamini_hochberg(np.array([np.nan, 0.001])).tolist() == [False, True]


@pytest.mark.parametrize("planted", [0.0, 0.25])
def test_false_discoveries_and_missed_intervals_stay_within_their_rates(planted):
    rng = np.random.default_rng(1)
    wrong, found, missed, k, n = 0, 0, 0, 200, 60
    for _ in range(40):
        truth = np.where(rng.uniform(size=k) < planted, 1.0, 0.0)
        sample = truth + rng.standard_normal((2, n, k))
        mean, variance = sample.mean(axis=1), sample.var(axis=1, ddof=1)
        tests = Changes(mean, variance, mean, variance, np.full((2, k), n))
        judged = judge_changes([tests], np.zeros(k))[0]
        claimed = np.isin(judged.change, ("lost", "gained"))
        found += int(claimed.sum())
        wrong += int((claimed & (truth == 0)).sum())
        missed += int((claimed & ((judged.low > truth) | (judged.high < truth))).sum())
    assert wrong <= 0.05 * max(found, 40)
    assert missed <= 0.05 * max(found, 40)
    assert found > (0.9 * planted * 40 * k if planted else -1)


def with_words_nobody_shows(subject, count=6):
    """The same with further listed values of the attribute, close to every image, that no image has."""
    near = subject.embeddings.mean(axis=0) / np.linalg.norm(subject.embeddings.mean(axis=0))
    extra = near + np.random.default_rng(7).normal(size=(count, len(near))) / len(near) ** 0.5
    extra /= np.linalg.norm(extra, axis=1, keepdims=True)
    colour = replace(subject.groups[1], texts=np.concatenate([subject.groups[1].texts, extra]))
    return replace(
        subject, groups=(subject.groups[0], colour), concept_texts=np.concatenate([subject.concept_texts, extra])
    )


def test_a_class_s_carried_share_depends_on_no_word_that_no_image_has():
    subject, own = world(0, null=1.5)
    plain, wide = (find_words(s, own).carried for s in (subject, with_words_nobody_shows(subject)))
    for name in ("share", "low", "high", "margin"):
        np.testing.assert_allclose(getattr(wide, name), getattr(plain, name), atol=1e-9)
    np.testing.assert_allclose(wide.change.value, plain.change.value, atol=1e-9)
    assert (np.abs(plain.share[:, 1] - 1) < 0.2).all()


def test_images_without_a_value_do_not_count_for_a_class():
    subject, (klass, value) = world(0, n=1200, null=1.5)
    known = np.random.default_rng(1).random(1200) < 0.5
    carried = find_words(subject, [klass, np.where(known, value, -1)]).carried
    for c in range(CLASSES):
        assert carried.n[c, 1] == np.count_nonzero(known & (klass == c))
        assert carried.n[c, 0] == np.count_nonzero(klass == c)
    # What half of the images say is what all say, within noise: nothing is drawn toward 0 by the others.
    whole = find_words(subject, [klass, value]).carried
    np.testing.assert_allclose(carried.margin[:, 1], whole.margin[:, 1], rtol=0.1)
    np.testing.assert_allclose(carried.change.value[:, 1], whole.change.value[:, 1], rtol=0.1)


def test_a_class_s_carried_share_is_that_of_a_loop_over_its_images():
    subject, own = world(2, n=500, null=1.0, seen=0.5)
    subject = with_words_nobody_shows(subject)
    carried, texts = find_words(subject, own).carried, subject.groups[1].texts[:VALUES]
    margins = np.zeros((2, CLASSES))
    for i, (klass, value) in enumerate(zip(*own, strict=True)):
        translator = subject.fitted.translators[subject.fitted.fold[i]]
        f = subject.features[i].astype(np.float64)
        equivalent = f - subject.space.null_part((f - translator.mean)[None])[0]
        for k, rows in enumerate((f, equivalent)):
            z = translator(rows[None])[0]
            angles = np.degrees(np.arccos(texts @ z / np.linalg.norm(z)))
            margins[k, klass] += np.delete(angles, value).mean() - angles[value]
    np.testing.assert_allclose(carried.share[:, 1], 1 - margins[1] / margins[0], atol=1e-9)


def in_scenes(subject, frames):
    """The subject with ``frames`` near-copies of every image, which are one unit."""

    def each(array):
        return np.repeat(array, frames, axis=0)

    names = [f"{digest} {k}" for digest in subject.sha256 for k in range(frames)]
    return replace(
        subject,
        features=each(subject.features),
        embeddings=each(subject.embeddings),
        class_of=each(subject.class_of),
        sha256=[hashlib.sha256(name.encode()).hexdigest() for name in names],
        units=each(np.arange(len(subject.sha256))),
        groups=tuple(replace(g, labels=each(g.labels)) for g in subject.groups),
        fitted=replace(subject.fitted, fold=each(subject.fitted.fold)),
    )


def test_frames_of_a_scene_are_one_image_to_words_and_to_findings_per_class():
    subject, own = world(3, n=500, null=1.5)
    alone = find_words(subject, own)
    scenes = find_words(in_scenes(subject, 6), [np.repeat(values, 6) for values in own])
    np.testing.assert_array_equal(scenes.carried.n, alone.carried.n)
    np.testing.assert_allclose(scenes.carried.share, alone.carried.share, rtol=1e-6)
    np.testing.assert_allclose(scenes.carried.high, alone.carried.high, rtol=1e-3)
    assert scenes.shown.n[CLASSES:].sum() < 500
    width = [np.mean(words.shown.high[CLASSES:] - words.shown.low[CLASSES:]) for words in (alone, scenes)]
    assert 0.75 < width[1] / width[0] < 1.33


def test_nothing_is_claimed_of_words_that_are_not_read():
    subject, own = world(0, null=1.5)
    words = find_words(subject, own, [(0, CLASSES), (1, 0)])
    unread = np.arange(CLASSES + VALUES) >= CLASSES
    dark = without_unread(words, unread, [(0, CLASSES), (1, 0)])
    assert set(dark.shown.change[CLASSES:]) == set(dark.by_class.change[:, CLASSES:].ravel()) == {"cannot tell"}
    np.testing.assert_array_equal(dark.shown.change[:CLASSES], words.shown.change[:CLASSES])
    assert words.asked.change[0] == "lost"
    assert dark.asked.change.tolist() == ["cannot tell", words.asked.change[1]]
