"""One image's words: few concepts are found again, and errors are those of refitted translators."""

import hashlib

import numpy as np
import pytest

from singaudit.classifier.interface import Head
from singaudit.geometry.null_space import null_space
from singaudit.language.translators.fit import Translator
from singaudit.metrics.fidelity import fit_for_keeping
from singaudit.metrics.image_words import _change, _error, _slope, decompose, judge_image
from singaudit.metrics.scores import text_angles, unit


def space(m, c=3):
    weight = np.eye(c, m)
    return null_space(Head(weight, np.zeros(c), "float32", None, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True))


def test_a_sparse_combination_is_found_again_with_signs():
    rng = np.random.default_rng(0)
    texts = unit(rng.standard_normal((200, 256)) + 3 * rng.standard_normal(256))
    words = unit(texts - texts.mean(axis=0))
    direction = 5 * (0.8 * words[3] - 0.5 * words[17] + 0.3 * words[99])
    translator = Translator(rng.standard_normal((40, 256)), np.zeros(256), np.zeros(40), 0.0, 1)
    found = decompose(direction, texts, translator, space(40), 0)
    assert [(i, sign) for i, sign, _ in found.atoms[:3]] == [(3, 1), (17, -1), (99, 1)]
    assert all(w > 0 for _, _, w in found.atoms)
    assert found.explained > 0.97 > np.percentile(found.control, 97.5)
    assert decompose(np.zeros(256), texts, translator, space(40), 0) is None


def test_the_slope_of_an_angle_is_its_derivative():
    rng = np.random.default_rng(1)
    z, texts, h = rng.standard_normal(9), unit(rng.standard_normal((4, 9))), 1e-6
    numeric = [
        (text_angles((z + h * e)[None], texts) - text_angles((z - h * e)[None], texts))[0] / (2 * h) for e in np.eye(9)
    ]
    np.testing.assert_allclose(_slope(z, texts), np.stack(numeric, axis=1), atol=1e-5)


def test_errors_are_those_of_translators_refitted_on_fresh_images():
    rng = np.random.default_rng(2)
    n, m, d = 500, 10, 8
    truth, texts, starts = 2 * rng.standard_normal((m, d)), unit(rng.standard_normal((6, d))), np.array([0, 3])
    f, g = rng.standard_normal((2, m))
    drawn, said = [], []
    for world in range(60):
        x = rng.standard_normal((n, m)).astype(np.float32)
        z = x @ truth + 2.0 * rng.standard_normal((n, d))
        sha = [hashlib.sha256(f"{world} {i}".encode()).hexdigest() for i in range(n)]
        kept = fit_for_keeping(x, z, sha, space(m), ("a", "0"), ("b", "1"), 0)
        half = kept.halves[1]
        drawn.append(_change(half, f[None], g[None], texts, starts)[0])
        said.append(_error(half, kept, f, g, texts, starts))
    # Halves are two and three folds of five; the error is said for half of all images.
    ratio = np.std(drawn, axis=0, ddof=1) / np.mean(said, axis=0)
    assert np.exp(np.mean(np.log(ratio))) == pytest.approx(np.sqrt(0.5 / 0.6), abs=0.12)


def test_without_uncertainty_nothing_is_judged():
    from dataclasses import replace

    rng = np.random.default_rng(3)
    x, z = rng.standard_normal((100, 10)).astype(np.float32), rng.standard_normal((100, 8))
    sha = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(100)]
    kept = fit_for_keeping(x, z, sha, space(10), ("a", "0"), ("b", "1"), 0)
    texts, none = unit(rng.standard_normal((6, 8))), np.zeros((0, 10))
    assert judge_image(x[0], x[1], replace(kept, halves=None), texts, np.array([0]), none) is None
    # A translator of noise says nothing of any word.
    assert not np.isin(judge_image(x[0], x[1], kept, texts, np.array([0, 3]), none).change, ("lost", "gained")).all()


def test_copies_of_the_images_are_no_further_images_to_a_stored_translator():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((200, 10)).astype(np.float32)
    z = x @ rng.standard_normal((10, 8)) + rng.standard_normal((200, 8))
    sha = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(200)]
    alone = fit_for_keeping(x, z, sha, space(10), ("a", "0"), ("b", "1"), 0)
    names = [hashlib.sha256(f"{i} {k}".encode()).hexdigest() for i in range(200) for k in range(5)]
    copied = np.repeat(x, 5, axis=0), np.repeat(z, 5, axis=0), names
    kept = fit_for_keeping(*copied, space(10), ("a", "0"), ("b", "1"), 0, keys=np.repeat(sha, 5).tolist())
    assert kept.facts.images == alone.facts.images == 200
    np.testing.assert_allclose(kept.translator.weight, alone.translator.weight, atol=1e-3)
    np.testing.assert_allclose(kept.leverage, alone.leverage, rtol=0.02, atol=1e-6)
    # By itself each copy would look like one more image.
    assert abs(kept.facts.r2.high - kept.facts.r2.low) == pytest.approx(
        alone.facts.r2.high - alone.facts.r2.low, rel=0.2
    )
