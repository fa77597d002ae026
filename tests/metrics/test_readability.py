"""Values read zero-shot are compared with texts that mean nothing."""

import numpy as np

from singaudit import audit_arrays

RNG = np.random.default_rng(0)
D, N = 64, 400


def units(*shape):
    x = RNG.normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def part_of(z, group, words):
    """The group's part in an audit of images ``z`` whose features are noise."""
    found = audit_arrays(
        weight=RNG.normal(size=(3, 8)),
        bias=np.zeros(3),
        features=RNG.normal(size=(N, 8)),
        embeddings=z,
        class_texts=units(3, D),
        groups={"g": group},
        meaningless={"g": words},
    )
    return next(f for f in found.findings if f.group == "g")


def test_images_that_vary_along_all_texts_alike_are_not_read():
    # Texts of any kind lie in a few dimensions, along which the images vary: random directions do not tell, words do.
    basis = units(6, D)
    z = RNG.normal(size=(N, 6)) @ basis + 0.3 * RNG.normal(size=(N, D))
    part = part_of(z, RNG.normal(size=(4, 6)) @ basis, RNG.normal(size=(64, 6)) @ basis)
    assert part.meaningless_texts.beaten < 0.02
    assert part.meaningless_texts.words_beaten > 0.02
    assert part.meaningless_texts.word_draws == 199
    assert not part.readable


def test_images_that_show_the_values_are_read_against_both():
    group = units(3, D)
    z = group[RNG.integers(0, 3, N)] + 0.05 * RNG.normal(size=(N, D))
    part = part_of(z, group, units(64, D))
    assert part.meaningless_texts.words_beaten == 0
    assert part.readable


def test_words_that_are_all_but_said_alike_count_by_their_directions_and_by_their_scores():
    from singaudit.metrics.readability import _spreads

    texts, covariance = 5 + RNG.normal(size=(8, 6)), np.cov(RNG.normal(size=(6, 50)))
    sets = np.stack([RNG.choice(8, 3, replace=False) for _ in range(4)])
    directions = texts[sets] - texts[sets].mean(axis=1, keepdims=True)
    as_they_are, along = _spreads(texts, covariance, sets)
    truth = [[d @ covariance @ d for d in one] for one in directions]
    lengths = [[d @ d for d in one] for one in directions]
    np.testing.assert_allclose(as_they_are, np.mean(truth, axis=1))
    np.testing.assert_allclose(along, np.mean(np.divide(truth, lengths), axis=1))
    np.testing.assert_allclose(_spreads(1 + texts / 100, covariance, sets)[1], along)
