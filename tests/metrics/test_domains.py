"""Images of another kind are told from images of the same."""

from __future__ import annotations

import hashlib

import numpy as np

from singaudit.metrics.domains import APART, told_apart


def _keys(count: int, start: int = 0) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in range(start, start + count)]


def test_two_draws_of_one_source_are_not_told_apart_even_where_images_are_few() -> None:
    rng = np.random.default_rng(0)
    for n, k, width in ((1000, 400, 64), (120, 60, 256)):
        found = told_apart(rng.normal(size=(n, width)), rng.normal(size=(k, width)), (_keys(n), _keys(k, n)))
        assert found is not None
        assert found.low < 0.55
        assert found.high > 0.45
        assert found.low < APART


def test_a_shifted_source_is_told_apart() -> None:
    rng = np.random.default_rng(1)
    shift = np.zeros(64)
    shift[:4] = 1.5
    found = told_apart(rng.normal(size=(800, 64)), rng.normal(size=(500, 64)) + shift, (_keys(800), _keys(500, 800)))
    assert found is not None
    assert found.low > APART
    # What two Gaussians three standard deviations apart should give: Phi(3 / sqrt 2).
    np.testing.assert_allclose(found.value, 0.983, atol=0.02)


def test_frames_of_a_scene_do_not_make_two_draws_differ() -> None:
    rng = np.random.default_rng(2)
    scenes = rng.normal(size=(60, 64))
    frames = np.repeat(scenes, 20, axis=0) + 0.01 * rng.normal(size=(1200, 64))
    keys = [key for key in _keys(60) for _ in range(20)]
    found = told_apart(frames[:600], frames[600:], (keys[:600], keys[600:]))
    assert found is not None
    assert found.low < APART
    assert found.n == 60


def test_a_handful_says_nothing() -> None:
    assert told_apart(np.zeros((5, 3)), np.ones((500, 3)), (_keys(5), _keys(500))) is None
