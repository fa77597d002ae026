"""Under a head of several labels, those that go with an attribute are taken out together."""

import numpy as np

from singaudit.metrics.label_cells import knows, label_cells

RNG = np.random.default_rng(0)
N = 2000


def test_a_label_knows_what_it_goes_with_however_rare_the_value():
    own = (RNG.random(N) < 0.1).astype(int)
    with_it = np.where(RNG.random(N) < 0.9, own, 1 - own).astype(bool)
    labels = np.stack([with_it, RNG.random(N) < 0.5], axis=1)
    found = knows(labels, own)
    # Of two values, right in 0.9 of both: 0.8 beyond chance.
    np.testing.assert_allclose(found, [0.8, 0.0], atol=0.08)


def test_cells_are_of_the_labels_that_tell_and_not_of_the_others():
    own = RNG.integers(0, 2, N)
    with_it = np.where(RNG.random(N) < 0.8, own, 1 - own).astype(bool)
    labels = np.concatenate([RNG.random((N, 30)) < 0.5, with_it[:, None]], axis=1)
    cells = label_cells(labels, [own])
    assert len(np.unique(cells)) == 2
    assert len(np.unique(cells[with_it])) == 1


def test_labels_enter_until_most_combinations_are_rare():
    own = RNG.integers(0, 2, 200)
    flip = RNG.random((200, 20)) < 0.3
    cells = label_cells((own[:, None] == 1) ^ flip, [own])
    sizes = np.bincount(cells)
    assert 1 < len(sizes) < 200
    assert sizes[sizes >= 8].sum() >= 0.8 * 200


def test_attributes_that_go_with_no_label_leave_one_cell():
    assert not label_cells(RNG.random((N, 5)) < 0.5, [RNG.integers(0, 3, N)]).any()


def test_an_ignored_attribute_that_goes_with_a_label_of_a_sigmoid_head_is_not_called_seen():
    from singaudit import audit_arrays

    rng = np.random.default_rng(1)
    n, m, d = 3000, 24, 32
    basis = np.linalg.qr(rng.normal(size=(m, m)))[0].T
    labels = rng.random((n, 4)) < 0.5
    # The value goes with the first label in 0.8 of the images, and is coded where no logit sees it.
    own = np.where(rng.random(n) < 0.8, labels[:, 0], ~labels[:, 0]).astype(int)
    signs = 2.0 * labels - 1
    f = rng.normal(scale=0.4, size=(n, m)) + 2 * signs @ basis[:4] + 2 * (2.0 * own - 1)[:, None] * basis[5]
    texts = {k: rng.normal(size=(v, d)) for k, v in {"class": 4, "sand": 2}.items()}
    z = signs @ texts["class"] + 2 * texts["sand"][own] + rng.normal(scale=0.2, size=(n, d))
    found = audit_arrays(
        weight=basis[:4], bias=np.zeros(4), features=f, embeddings=z, class_texts=texts["class"],
        groups={"sand": texts["sand"]}, labels={"sand": own}, units=np.arange(n), activation="sigmoid",
    )  # fmt: skip
    part = next(p for p in found.findings if p.group == "sand")
    assert part.finding in ("strong", "partial")
    assert part.beyond_class.class_knows.value > 0.5
