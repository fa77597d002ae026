"""The columns that model scores are means of, against a loop over images and a regression by numpy alone."""

import numpy as np
import pytest
from linear_worlds import world

from singaudit.language.translators.fit import FOLDS, fold_of
from singaudit.metrics.measure import MODEL_COLUMNS, measure

AT = {name: i for i, name in enumerate(MODEL_COLUMNS)}


def angle(u, v):
    return np.degrees(np.arccos(np.clip(u @ v / np.linalg.norm(u) / np.linalg.norm(v), -1, 1)))


def ridge(f, z, penalty):
    """(weight, mean f, mean z) of rows as they are."""
    mean_f, mean_z = f.mean(axis=0), z.mean(axis=0)
    c = f - mean_f
    return np.linalg.solve(c.T @ c + penalty * np.eye(f.shape[1]), c.T @ (z - mean_z)), mean_f, mean_z


def test_model_columns_are_those_of_a_loop_over_images():
    subject = world(n=400, null=("hue",), seen=("form",))
    f, z = subject.features.astype(np.float64), subject.embeddings.astype(np.float64)
    vectors = np.linalg.svd(subject.space.principal_part(np.eye(f.shape[1])))[0][:, : subject.space.rank]
    onto_seen = vectors @ vectors.T
    fold, rows = fold_of(subject.sha256), []
    fitted = []
    for k in range(FOLDS):
        train, penalty = fold != k, subject.fitted.translators[k].penalty
        fitted.append((ridge(f[train], z[train], penalty), ridge(f[train] @ onto_seen, z[train], penalty)))
    for i, x in enumerate(f):
        (weight, mean_f, mean_z), (weight_p, mean_p, _) = fitted[fold[i]]
        t = (x - mean_f) @ weight + mean_z
        zero, mean = (t - (x - m) @ (np.eye(len(x)) - onto_seen) @ weight for m in (0, mean_f))
        text = subject.class_texts[subject.class_of[i]]
        read_p = (x @ onto_seen - mean_p) @ weight_p + mean_z
        null = (x - mean_f) @ (np.eye(len(x)) - onto_seen)
        before = angle(t, text)
        moved = [(angle(t, e), before - angle(e, text)) for e in (zero, mean)]
        rows.append([
            moved[0][0], moved[0][1], abs(moved[0][1]), moved[1][0], moved[1][1], abs(moved[1][1]),
            null @ null, (x - mean_f) @ (x - mean_f), (z[i] - t) @ (z[i] - t), (z[i] - read_p) @ (z[i] - read_p),
            (z[i] - mean_z) @ (z[i] - mean_z), t @ z[i] / np.linalg.norm(t), 0.0,
            np.argmax(subject.class_texts @ t) == np.argmax(subject.class_texts @ z[i]),
        ])  # fmt: skip
    truth, found = np.mean(rows, axis=0), measure(subject).model.means()[0]
    compared = [i for name, i in AT.items() if name != "cosine_shuffled"]
    np.testing.assert_allclose(found[compared], truth[compared], rtol=1e-6)


def test_shuffled_cosine_is_that_of_any_two_images():
    # Classes are what embeddings differ by most: pairs of one class belong together half-way.
    subject = world(n=1500)
    measured, z = measure(subject), subject.embeddings.astype(np.float64)
    read = np.stack(
        [subject.fitted.translators[k](f[None])[0] for k, f in zip(subject.fitted.fold, subject.features, strict=True)]
    )
    read /= np.linalg.norm(read, axis=1, keepdims=True)
    every = read @ z.T
    truth = (every.sum() - np.trace(every)) / (len(z) * (len(z) - 1))
    shuffled = measured.model.mean(AT["cosine_shuffled"])
    assert shuffled.value == pytest.approx(truth, abs=0.03)
    assert shuffled.value < 0.5 * measured.model.mean(AT["cosine"]).value
