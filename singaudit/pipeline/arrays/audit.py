"""Arrays in, findings out: the measurement, controls and rules of an audit on what a pass over images gives.

For features of any framework and embeddings of any encoder; and what planted worlds are judged by, so that calibration
goes through the very code of an audit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from singaudit.classifier.class_names import predicted
from singaudit.classifier.interface import Activation, Head, StoredDtype
from singaudit.errors import ConfigError
from singaudit.geometry.null_space import NullSpace, null_space
from singaudit.language.concepts import numbered_group
from singaudit.language.translators.fit import MIN_FIT_IMAGES, fit
from singaudit.metrics.judge import findings_of
from singaudit.metrics.label_cells import labels_of
from singaudit.metrics.measure import Measured
from singaudit.metrics.nearest import Progress
from singaudit.metrics.subject import GroupTexts, Subject, unit_keys
from singaudit.metrics.units import Units, find_units
from singaudit.metrics.units import given as given_units
from singaudit.pipeline.arrays.checked import (
    content_hashes,
    directions,
    integers,
    mismatch,
    real,
    rows,
    scenes,
    texts,
)
from singaudit.report.build.findings import finding_parts
from singaudit.report.result.findings import FindingPart

Array = NDArray[np.float64]
Texts = ArrayLike | tuple[ArrayLike, ArrayLike]

_BLOCK = 4096


@dataclass(frozen=True)
class Given:
    """Arrays of an audit, checked: they fit together, and a translator can be fitted."""

    head: Head
    """The final linear layer."""
    features: NDArray[np.float32]
    """(n, m)."""
    embeddings: NDArray[np.float32]
    """(n, d) at unit length."""
    class_texts: Array
    """(c, d) at unit length."""
    groups: tuple[GroupTexts, ...]
    """The classes' own first, where there are two."""
    class_labels: NDArray[np.intp] | None
    """(n,)."""
    units: ArrayLike | None
    """As it was given."""
    probe: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    """Features (k, m) and unit embeddings (k, d) to fit the translator on."""
    probe_units: ArrayLike | None
    """As it was given."""

    @property
    def class_of(self) -> NDArray[np.intp]:
        """(n,) the class that each image counts under: its label, else the predicted one."""
        if self.class_labels is not None:
            return self.class_labels
        return np.concatenate([np.argmax(part, axis=1) for part in self._logits()]).astype(np.intp)

    def predicted(self, names: int) -> NDArray[np.intp]:
        """(n,) which of so many ``names`` of classes the logits say."""
        return np.concatenate([predicted(part.astype(np.float32), names) for part in self._logits()])

    @property
    def several_labels(self) -> NDArray[np.bool_] | None:
        """(n, c) labels that a head of several gives each image; None where classes stand for them."""
        if self.class_labels is not None:
            return None
        parts: list[NDArray[np.bool_]] = []
        for logits in self._logits():
            part = labels_of(self.head.activation, logits.astype(np.float32))
            if part is None:
                return None
            parts.append(part)
        return np.concatenate(parts)

    def _logits(self) -> Iterator[Array]:
        """(b, c) a block of images at a time: those of all images at once may be larger than their features."""
        for start in range(0, len(self.features), _BLOCK):
            yield self.features[start : start + _BLOCK].astype(np.float64) @ self.head.weight.T + self.head.bias


@dataclass(frozen=True)
class ArrayAudit:
    """What ``audit_arrays`` found."""

    findings: list[FindingPart]
    """Per group, the classes' own first, as in result.json: ``.group``, ``.finding`` and the numbers behind it."""
    space: NullSpace
    """The head's split of feature space."""
    subject: Subject
    """What was measured."""
    measured: Measured
    """Every number."""


def audit_arrays(
    *,
    weight: ArrayLike,
    bias: ArrayLike,
    features: ArrayLike,
    embeddings: ArrayLike,
    class_texts: ArrayLike,
    groups: Mapping[str, Texts],
    class_labels: ArrayLike | None = None,
    labels: Mapping[str, ArrayLike] | None = None,
    units: ArrayLike | None = None,
    probe_features: ArrayLike | None = None,
    probe_embeddings: ArrayLike | None = None,
    probe_units: ArrayLike | None = None,
    meaningless: Mapping[str, ArrayLike] | None = None,
    activation: Activation = "softmax",
    seed: int = 0,
) -> ArrayAudit:
    """Audit a head by arrays alone.

    ``weight`` (c, m) and ``bias`` (c,) of the final linear layer; ``features`` (n, m) that it was given and image
    ``embeddings`` (n, d) of the same n images; ``class_texts`` (c, d). ``groups`` maps an attribute's name to the text
    embeddings (v, d) of its values, or to a pair of them where there are two sets of prompts. ``labels`` maps a group's
    name to the values (n,) of the images, integers, -1 where unknown: groups without are read zero-shot.
    ``class_labels`` (n,), integers; without, predicted classes take their place. ``units`` (n,), integers: images of
    one number show the same scene; without, they are found from the arrays. The translator is fitted on
    ``probe_features`` (k, m) and ``probe_embeddings`` (k, d) where they are given, else cross-fitted on the images'
    own. ``meaningless`` maps a group's name to text embeddings (k, d) of words that no image shows, said as its values
    are: values read zero-shot must separate the images better than those. Embeddings and texts need not be of unit
    length. Raises ``SingauditError`` for what does not fit together.
    """
    given = check_arrays(
        weight=weight, bias=bias, features=features, embeddings=embeddings, class_texts=class_texts, groups=groups,
        class_labels=class_labels, labels=labels, units=units, probe_features=probe_features,
        probe_embeddings=probe_embeddings, probe_units=probe_units, meaningless=meaningless, activation=activation,
    )  # fmt: skip
    space = null_space(given.head)
    subject, _ = subject_of(given, space, seed)
    measured, controls, judged = findings_of(subject)
    return ArrayAudit(finding_parts(judged, controls), space, subject, measured)


def check_arrays(
    *,
    weight: ArrayLike,
    bias: ArrayLike,
    features: ArrayLike,
    embeddings: ArrayLike,
    class_texts: ArrayLike,
    groups: Mapping[str, Texts],
    class_labels: ArrayLike | None = None,
    labels: Mapping[str, ArrayLike] | None = None,
    units: ArrayLike | None = None,
    probe_features: ArrayLike | None = None,
    probe_embeddings: ArrayLike | None = None,
    probe_units: ArrayLike | None = None,
    meaningless: Mapping[str, ArrayLike] | None = None,
    activation: Activation = "softmax",
    activation_stated: bool = True,
) -> Given:
    """The arrays of ``audit_arrays``, checked. Raises ``SingauditError`` for what does not fit together."""
    w, b = real("weight", weight, 2), real("bias", bias, 1)
    (c, m) = w.shape
    f = rows("features", features, (None, m), "as many columns as weight")
    n = len(f)
    z = directions("embeddings", embeddings, (n, None), "a row for each of the features'")
    d = z.shape[1]
    if b.shape != (c,):
        raise mismatch("bias", f"({c},), a number for each row of weight", b.shape)
    said = texts("class_texts", class_texts, (c, d), "a row for each class, as wide as embeddings")
    classes = integers("class_labels", class_labels, n, c) if class_labels is not None else None
    if classes is not None and (classes < 0).any():
        raise ConfigError("expected class_labels from 0 on, found negative ones", hint="Leave out images without one.")
    known, empty = labels or {}, meaningless or {}
    for what, keys in (("labels", known), ("meaningless", empty)):
        if stray := sorted(set(keys) - set(groups)):
            raise ConfigError(
                f"expected {what} of the groups {', '.join(sorted(groups))}, found some of {stray[0]!r}",
                hint=f"Every key of {what} must be one of groups.",
            )
    arranged = [_group(name, given, known.get(name), empty.get(name), n, d) for name, given in groups.items()]
    if c > 1:
        arranged.insert(0, GroupTexts(numbered_group("class", c, "class"), said, said, classes))
    if not arranged:
        raise ConfigError("expected at least two classes or a group, found neither", hint="Add a group of texts.")
    probe = _probe(probe_features, probe_embeddings, m, d)
    if (behind := len(probe[0]) if probe else n) < MIN_FIT_IMAGES:
        raise ConfigError(
            f"expected at least {MIN_FIT_IMAGES} images to fit a translator, found {behind}",
            hint="About 1,000 are needed before findings can be trusted.",
        )
    if units is not None:
        scenes("units", units, n)
    if probe_units is not None:
        scenes("probe_units", probe_units, len(probe[0]) if probe else 0)
    stored: StoredDtype = "float16" if np.asarray(weight).dtype == np.float16 else "float32"
    head = Head(w, b, stored, None, "arrays", (), "features", "", 0.0, activation, activation_stated)
    return Given(head, f, z, said, tuple(arranged), classes, units, probe, probe_units)


def subject_of(
    given: Given, space: NullSpace, seed: int, progress: Progress = lambda done, total: None
) -> tuple[Subject, tuple[Units, Units | None]]:
    """What is measured, its translator fitted; and which images, and which of the probe, are one."""
    sha = content_hashes(given.features, given.embeddings)
    units, probe, probe_units = _units(given.units, given.features, given.embeddings, progress), None, None
    if given.probe is not None:
        probe_units = _units(given.probe_units, *given.probe, progress)
        probe = (*given.probe, unit_keys(content_hashes(*given.probe), probe_units.of))
    fitted = fit(given.features, given.embeddings, unit_keys(sha, units.of), space, probe)
    return Subject(
        given.features, given.embeddings, sha, given.class_of, given.class_texts,
        np.concatenate([g.texts for g in given.groups]), given.groups, space, fitted, seed, given.probe,
        units.of.astype(np.intp), given.several_labels,
    ), (units, probe_units)  # fmt: skip


def _group(
    name: str, given: Texts, labels: ArrayLike | None, meaningless: ArrayLike | None, n: int, d: int
) -> GroupTexts:
    if name == "class":
        raise ConfigError("expected another name than class for a group: it is kept for the classes", hint="Rename it.")
    first, second = given if isinstance(given, tuple) else (given, given)
    said = texts(f"groups[{name!r}]", first, (None, d), "a row for each value, as wide as embeddings")
    if len(said) < 2:
        raise ConfigError(f"expected at least two values in groups[{name!r}], found one", hint="Add what it is not.")
    others = texts(f"groups[{name!r}][1]", second, said.shape, "as the first set of prompts")
    own = integers(f"labels[{name!r}]", labels, n, len(said)) if labels is not None else None
    words = None
    if meaningless is not None and own is None:
        words = texts(f"meaningless[{name!r}]", meaningless, (None, d), "as wide as embeddings")
        if len(words) < 4:
            raise ConfigError(
                f"expected at least four texts in meaningless[{name!r}], found {len(words)}",
                hint="Give 50 or more, each of another word.",
            )
    return GroupTexts(numbered_group(name, len(said)), said, others, own, words)


def _units(given: ArrayLike | None, f: NDArray[np.float32], z: NDArray[np.float32], progress: Progress) -> Units:
    return find_units(f, z, progress=progress) if given is None else given_units(np.asarray(given))


def _probe(
    features: ArrayLike | None, embeddings: ArrayLike | None, m: int, d: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    if features is None and embeddings is None:
        return None
    if features is None or embeddings is None:
        raise ConfigError("expected both probe_features and probe_embeddings, found one", hint="Give both or neither.")
    f = rows("probe_features", features, (None, m), "as wide as features")
    return f, directions("probe_embeddings", embeddings, (len(f), d), "a row for each of probe_features")
