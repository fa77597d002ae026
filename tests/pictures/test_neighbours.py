"""Retrieval is exact, from the image's own fold, and never the image itself."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from singaudit.classifier.interface import Head
from singaudit.geometry.null_space import null_space
from singaudit.language.concepts import numbered_group
from singaudit.language.translators.fit import fit
from singaudit.metrics.measure import measure
from singaudit.metrics.scores import unit
from singaudit.metrics.subject import GroupTexts, Subject
from singaudit.pictures import neighbours
from singaudit.pictures.neighbours import retrieve, telling_images


@pytest.fixture(scope="module")
def subject():
    rng = np.random.default_rng(0)
    n, m, d = 400, 12, 9
    f = rng.normal(size=(n, m)).astype(np.float32)
    z = unit(f @ rng.normal(size=(m, d)) + 0.1 * rng.normal(size=(n, d))).astype(np.float32)
    sha = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)]
    w = np.float32(rng.normal(size=(4, m))).astype(np.float64)
    space = null_space(Head(w, np.zeros(4), "float32", None, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True))
    texts = unit(rng.normal(size=(4, d)))
    group = GroupTexts(numbered_group("class", 4), texts, texts, None)
    class_of = np.argmax(f @ w.T, axis=1)
    return Subject(f, z, sha, class_of, texts, texts, (group,), space, fit(f, z, sha, space), 0)


@pytest.mark.parametrize("block", [7, 100, 10000])
def test_neighbours_are_those_of_a_full_search(subject, monkeypatch, block):
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    for pair in retrieve(subject, [3, 250], 5):
        k = subject.fitted.fold[pair.row]
        translator = subject.fitted.translators[k]
        f = subject.features[pair.row].astype(np.float64)
        moved = f - subject.space.null_part((f - translator.mean)[None])[0]
        for query, found in ((f, pair.near_original), (moved, pair.near_equivalent)):
            q = unit(translator(query[None]))[0]
            angles = np.degrees(np.arccos(np.clip(unit(subject.embeddings) @ q, -1, 1)))
            allowed = (subject.fitted.fold == k) & (np.arange(len(angles)) != pair.row)
            truth = np.flatnonzero(allowed)[np.argsort(angles[allowed])[:5]]
            assert [row for row, _ in found] == truth.tolist()
            np.testing.assert_allclose([a for _, a in found], angles[truth], atol=1e-3)


def test_classes_take_turns_in_the_gallery(subject):
    measured = measure(subject)
    rows = telling_images(subject, measured, 8, None)
    assert len(set(rows)) == 8
    assert set(np.bincount(subject.class_of[rows], minlength=4)) == {2}
    assert measured.image_score_mean[rows[0]] == measured.image_score_mean.max()


def test_values_of_the_leading_group_take_turns_as_well(subject):
    rng = np.random.default_rng(2)
    values, texts = np.arange(len(subject.features)) % 3, unit(rng.normal(size=(3, 9)))
    group = GroupTexts(numbered_group("colour", 3), texts, texts, values)
    coloured = replace(subject, groups=(*subject.groups, group))
    measured = measure(coloured)
    # One value is the most telling by far, in every class; images that show nothing are not telling.
    contrast = np.where(values == 0, 50.0, 1.0) + rng.random(len(values))
    contrast[7], contrast[8] = -3, np.nan
    lead = replace(measured.group("colour"), contrast=contrast)
    rows = telling_images(coloured, measured, 6, lead)
    assert set(np.bincount(values[rows], minlength=3)) == {2}
    assert values[rows[0]] == 0
    assert contrast[rows[0]] == np.nanmax(contrast)
    everything = telling_images(coloured, measured, len(values), lead)
    assert sorted(everything) == list(range(len(values)))
    assert set(everything[-2:]) == {7, 8}


def test_another_frame_of_the_same_scene_is_no_neighbour(subject):
    count = len(subject.sha256)
    scenes = replace(subject, units=np.arange(count) // 2)
    rows = list(range(6))
    for pair in retrieve(scenes, rows, 8):
        for near in (pair.near_original, pair.near_equivalent):
            assert near
            assert all(i // 2 != pair.row // 2 for i, _ in near)
