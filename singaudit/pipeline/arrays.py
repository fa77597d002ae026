"""Arrays in, findings out: the measurement, controls and rules of an audit on what a pass over images gives.

For features of any framework and embeddings of any encoder; and what planted worlds are judged by, so that calibration
goes through the very code of an audit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from singaudit.classifier.interface import Activation, Head
from singaudit.errors import ConfigError
from singaudit.geometry.null_space import NullSpace, null_space
from singaudit.language.concepts import Group
from singaudit.language.translators.fit import fit
from singaudit.metrics.control_run import run_controls
from singaudit.metrics.judge import judge
from singaudit.metrics.measure import Measured, measure
from singaudit.metrics.scores import unit
from singaudit.metrics.subject import GroupTexts, Subject, unit_keys
from singaudit.metrics.units import find_units
from singaudit.report.build.findings import finding_parts
from singaudit.report.result.findings import FindingPart

Array = NDArray[np.float64]
Texts = ArrayLike | tuple[ArrayLike, ArrayLike]

_MIN_FIT = 50
# Images that a translator can be fitted on at all.


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
    own. Embeddings and texts need not be of unit length. Raises ``SingauditError`` for what does not fit together.
    """
    w, b = _real("weight", weight, 2), _real("bias", bias, 1)
    (c, m) = w.shape
    f = _real("features", features, 2, (None, m), "as many columns as weight").astype(np.float32)
    n = len(f)
    z = _unit("embeddings", embeddings, (n, None), "a row for each of the features'").astype(np.float32)
    d = z.shape[1]
    if b.shape != (c,):
        raise _mismatch("bias", f"({c},), a number for each row of weight", b.shape)
    texts = _unit("class_texts", class_texts, (c, d), "a row for each class, as wide as embeddings")
    classes = _integers("class_labels", class_labels, n, c) if class_labels is not None else None
    if classes is not None and (classes < 0).any():
        raise ConfigError("expected class_labels from 0 on, found negative ones", hint="Leave out images without one.")
    class_of = classes if classes is not None else _predicted(f, w, b)
    known = labels or {}
    if stray := sorted(set(known) - set(groups)):
        raise ConfigError(
            f"expected labels of the groups {', '.join(sorted(groups))}, found some of {stray[0]!r}",
            hint="Every key of labels must be one of groups.",
        )
    arranged = [_group(name, given, known.get(name), n, d) for name, given in groups.items()]
    if c > 1:
        arranged.insert(0, GroupTexts("class", texts, texts, classes, "class"))
    sha = _hashes(f, z)
    unit_of = _units(units, f, z)
    probe = _probe(probe_features, probe_embeddings, probe_units, m, d)
    if (len(probe[0]) if probe else n) < _MIN_FIT:
        raise ConfigError(
            f"expected at least {_MIN_FIT} images to fit a translator, found {len(probe[0]) if probe else n}",
            hint="About 1,000 are needed before findings can be trusted.",
        )
    space = null_space(Head(w, b, "float32", None, "arrays", (), "", "", 0.0, activation, True))
    fitted = fit(f, z, unit_keys(sha, unit_of), space, probe)
    subject = Subject(
        f, z, sha, class_of, texts, np.concatenate([g.texts for g in arranged]), tuple(arranged), space, fitted, seed,
        probe[:2] if probe else None, unit_of,
    )  # fmt: skip
    measured = measure(subject)
    controls = run_controls(subject, measured)
    judged = judge(subject, measured, controls)
    named = [Group(g.name, tuple(map(str, range(len(g.texts)))), "{}", g.kind) for g in arranged]
    labelled = [g.labels is not None for g in arranged]
    return ArrayAudit(finding_parts(named, labelled, measured.groups, judged, controls), space, subject, measured)


def _mismatch(name: str, expected: str, shape: tuple[int, ...]) -> ConfigError:
    return ConfigError(f"expected {name} of shape {expected}; found {shape}", hint="See help(singaudit.audit_arrays).")


def _real(
    name: str, given: ArrayLike, dims: int, shape: Sequence[int | None] | None = None, why: str = ""
) -> NDArray[np.float64]:  # fmt: skip
    """Finite real numbers of the shape that is wanted; None where any size will do."""
    array = np.asarray(given)
    if array.dtype.kind not in "fiu":
        raise ConfigError(f"expected real numbers in {name}, found {array.dtype}", hint="Convert it to float32.")
    wanted = shape or (None,) * dims
    if (
        array.ndim != dims
        or 0 in array.shape
        or any(s not in (None, t) for s, t in zip(wanted, array.shape, strict=True))
    ):
        sizes = ", ".join("any" if s is None else str(s) for s in wanted)
        raise _mismatch(name, f"({sizes}{',' if dims == 1 else ''}){', ' + why if why else ''}", array.shape)
    if not np.isfinite(array).all():
        raise ConfigError(f"expected finite numbers in {name}, found NaN or infinity", hint="Leave those images out.")
    return array.astype(np.float64)


def _unit(name: str, given: ArrayLike, shape: Sequence[int | None], why: str) -> Array:
    """The same, rows scaled to unit length."""
    array = _real(name, given, 2, shape, why)
    if not (np.linalg.norm(array, axis=1) > 0).all():
        raise ConfigError(
            f"expected no row of zeros in {name}, found one", hint="An embedding of length 0 says nothing."
        )
    return unit(array)


def _integers(name: str, given: ArrayLike, n: int, values: int) -> NDArray[np.intp]:
    array = np.asarray(given)
    if array.dtype.kind not in "iu" or array.shape != (n,):
        raise ConfigError(
            f"expected {n} integers in {name}, found {array.dtype} of shape {array.shape}",
            hint="One number for each image, -1 where a value is unknown.",
        )
    array = array.astype(np.intp)
    if array.min() < -1 or array.max() >= values:
        raise ConfigError(
            f"expected {name} from -1 to {values - 1}, found {array.min()} to {array.max()}",
            hint="They are positions among the texts.",
        )
    return array


def _group(name: str, given: Texts, labels: ArrayLike | None, n: int, d: int) -> GroupTexts:
    if name == "class":
        raise ConfigError("expected another name than class for a group: it is kept for the classes", hint="Rename it.")
    first, second = given if isinstance(given, tuple) else (given, given)
    texts = _unit(f"groups[{name!r}]", first, (None, d), "a row for each value, as wide as embeddings")
    if len(texts) < 2:
        raise ConfigError(f"expected at least two values in groups[{name!r}], found one", hint="Add what it is not.")
    others = _unit(f"groups[{name!r}][1]", second, texts.shape, "as the first set of prompts")
    own = _integers(f"labels[{name!r}]", labels, n, len(texts)) if labels is not None else None
    return GroupTexts(name, texts, others, own)


def _predicted(f: NDArray[np.float32], w: Array, b: Array) -> NDArray[np.intp]:
    logits = f.astype(np.float64) @ w.T + b
    return np.argmax(logits, axis=1)


def _hashes(f: NDArray[np.float32], z: NDArray[np.float32]) -> list[str]:
    """What stands for an image's content: a hash of its rows."""
    return [hashlib.sha256(a.tobytes() + b.tobytes()).hexdigest() for a, b in zip(f, z, strict=True)]


def _units(given: ArrayLike | None, f: NDArray[np.float32], z: NDArray[np.float32]) -> NDArray[np.intp]:
    if given is None:
        return find_units(f, z).of.astype(np.intp)
    units = np.asarray(given)
    if units.dtype.kind not in "iu" or units.shape != (len(f),):
        raise ConfigError(
            f"expected {len(f)} integers in units, found {units.dtype} of shape {units.shape}",
            hint="One number for each image, the same for images of one scene.",
        )
    return units.astype(np.intp)


def _probe(
    features: ArrayLike | None, embeddings: ArrayLike | None, units: ArrayLike | None, m: int, d: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[str]] | None:
    if features is None and embeddings is None:
        return None
    if features is None or embeddings is None:
        raise ConfigError("expected both probe_features and probe_embeddings, found one", hint="Give both or neither.")
    f = _real("probe_features", features, 2, (None, m), "as wide as features").astype(np.float32)
    wide = "a row for each of probe_features, as wide as embeddings"
    z = _unit("probe_embeddings", embeddings, (len(f), d), wide).astype(np.float32)
    z = z.astype(np.float32)
    return f, z, unit_keys(_hashes(f, z), _units(units, f, z))
