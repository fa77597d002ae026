"""Whether rotated features are kept or made again is a matter of cost alone."""

import numpy as np
import pytest

from singaudit.classifier.interface import Head
from singaudit.geometry.null_space import null_space
from singaudit.metrics import rotated as module
from singaudit.metrics.rotated import Rotated

N, M, CLASSES = 50, 12, 5


def of(block, monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr(module, "BLOCK", block)
    weight = np.float32(rng.normal(size=(CLASSES, M)))
    head = Head(weight, np.zeros(CLASSES), "float32", None, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True)
    space, features = null_space(head), np.float32(rng.normal(size=(N, M)))
    return space, features, Rotated(features, space)


@pytest.mark.parametrize("block", [N, 7])
def test_parts_are_what_the_logits_see_and_what_they_do_not(block, monkeypatch):
    space, features, rotated = of(block, monkeypatch)
    for part, truth in zip(
        rotated.parts(), (features, space.principal_part(features), space.null_part(features)), strict=True
    ):
        x = np.concatenate([x for _, x in rotated.rows(np.arange(N))])[:, part]
        np.testing.assert_allclose(x @ rotated.basis[:, part].T, truth, atol=1e-6)


@pytest.mark.parametrize("p", [0, 1, 2])
@pytest.mark.parametrize("block", [N, 7])
def test_what_is_linear_in_a_part_is_the_same_either_way(p, block, monkeypatch):
    _, features, rotated = of(block, monkeypatch)
    part = rotated.parts()[p]
    x = features.astype(np.float64) @ rotated.basis[:, part]
    weight, moved = np.random.default_rng(1).normal(size=(x.shape[1], 3)), np.ones((N, 3))
    seen, rows = rotated.part(part), np.arange(N)
    assert (seen.axes is None) == (block == N)
    np.testing.assert_allclose(seen.rows(rows) @ seen.onto(weight), x @ weight, atol=1e-12)
    np.testing.assert_allclose(seen.pulled(seen.rows(rows).T @ moved), x.T @ moved, atol=1e-12)
