"""Linear-Gaussian worlds with planted attributes, as the measurement sees an audit."""

import hashlib

import numpy as np

from singaudit.classifier.interface import Head
from singaudit.geometry.null_space import null_space
from singaudit.language.concepts import numbered_group
from singaudit.language.translators.fit import fit
from singaudit.metrics.scores import unit
from singaudit.metrics.subject import GroupTexts, Subject

CLASSES, NULL, WIDTH = 5, 12, 48


def world(seed=0, n=1500, probe=0, null=(), seen=(), other=(), values=4, shares=None, turn=False, scale=1.0, loud=1.0):
    """A Subject whose attributes ``null`` are coded in the null space, ``seen`` where logits look, ``other`` nowhere.

    An attribute in both is in both. ``turn``: in an orthogonally turned feature basis; ``scale``: of the head;
    ``loud``: how much the attributes show in the embeddings, the classes being 1.
    """
    rng = np.random.default_rng(seed)
    m, total = CLASSES + NULL, n + probe
    names = list(dict.fromkeys([*null, *seen, *other]))
    own = {name: rng.choice(values, total, p=shares) for name in names}
    klass = rng.integers(CLASSES, size=total)
    texts = {name: unit(rng.normal(size=(values, WIDTH))) for name in names}
    class_texts = unit(rng.normal(size=(CLASSES, WIDTH)))
    z = (
        class_texts[klass]
        + loud * sum(texts[name][own[name]] for name in names)
        + 0.15 * rng.normal(size=(total, WIDTH))
    )
    parts = [np.eye(CLASSES)[klass] + 0.2 * rng.normal(size=(total, CLASSES)), 0.2 * rng.normal(size=(total, NULL))]
    for where, coded in ((0, seen), (1, null)):
        for name in coded:
            parts[where] = parts[where] + rng.normal(size=(values, parts[where].shape[1]))[own[name]] * 0.6
    basis = np.linalg.qr(rng.normal(size=(m, m)))[0]
    if turn:
        basis = basis @ np.linalg.qr(np.random.default_rng(99).normal(size=(m, m)))[0]
    features = (np.concatenate(parts, axis=1) @ basis).astype(np.float32)
    weight = scale * (rng.normal(size=(CLASSES, CLASSES)) + 2 * np.eye(CLASSES)) @ basis[:CLASSES]
    head = Head(weight, np.zeros(CLASSES), "float32", None, "Gemm", ("fc",), "f", "y", 0.0, "softmax", True)
    sha = [hashlib.sha256(f"{seed}:{i}".encode()).hexdigest() for i in range(total)]
    return subject(features, unit(z).astype(np.float32), sha, klass, own, texts, class_texts, null_space(head), n)


def subject(features, z, sha, klass, own, texts, class_texts, space, n):
    probe = (features[n:], z[n:]) if len(features) > n else None
    fitted = fit(features[:n], z[:n], sha[:n], space, (*probe, sha[n:]) if probe else None)
    groups = tuple(GroupTexts(numbered_group(name, len(t)), t, t, own[name][:n]) for name, t in texts.items())
    groups += (GroupTexts(numbered_group("class", len(class_texts), "class"), class_texts, class_texts, klass[:n]),)
    return Subject(features[:n], z[:n], sha[:n], klass[:n], class_texts, class_texts, groups, space, fitted, 0, probe)
