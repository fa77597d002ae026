"""Arrays that somebody gives, checked before anything is computed: shapes, kinds and values, refused in words.

Large arrays may lie on disk: they are looked at a block of rows at a time, and copied only where they must be changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from singaudit.errors import ConfigError
from singaudit.metrics.scores import unit

Array = NDArray[np.float64]
Rows = NDArray[np.float32]

_BLOCK = 4096


def real(name: str, given: ArrayLike, dims: int, shape: Sequence[int | None] | None = None, why: str = "") -> Array:
    """Finite real numbers of the shape that is wanted, in float64; None where any size will do."""
    array = _shaped(name, given, dims, shape, why)
    if not np.isfinite(array).all():
        raise _not_finite(name)
    return array.astype(np.float64)


def rows(name: str, given: ArrayLike, shape: Sequence[int | None], why: str) -> Rows:
    """The same of many rows, in float32: the array itself, on disk or not, where it is of that kind already."""
    array = _shaped(name, given, 2, shape, why)
    kept = array.dtype == np.float32
    found = array if kept else np.empty(array.shape, np.float32)
    for start in range(0, len(array), _BLOCK):
        at = slice(start, start + _BLOCK)
        if not kept:
            with np.errstate(over="ignore"):
                found[at] = array[at]
        if not np.isfinite(found[at]).all():
            raise _not_finite(name)
    return np.asarray(found)


def directions(name: str, given: ArrayLike, shape: Sequence[int | None], why: str) -> Rows:
    """Rows of unit length, in float32."""
    array = rows(name, given, shape, why)
    found = np.empty(array.shape, np.float32)
    for start in range(0, len(array), _BLOCK):
        at = slice(start, start + _BLOCK)
        found[at] = _unit(name, array[at].astype(np.float64))
    return found


def texts(name: str, given: ArrayLike, shape: Sequence[int | None], why: str) -> Array:
    """Text embeddings at unit length, in float64."""
    return _unit(name, real(name, given, 2, shape, why))


def integers(name: str, given: ArrayLike, n: int, values: int) -> NDArray[np.intp]:
    """(n,) positions among ``values``, -1 where unknown."""
    array = _whole(name, given, n, "-1 where a value is unknown")
    if len(array) and (array.min() < -1 or array.max() >= values):
        raise ConfigError(
            f"expected {name} from -1 to {values - 1}, found {array.min()} to {array.max()}",
            hint="They are positions among the texts.",
        )
    return array.astype(np.intp)


def scenes(name: str, given: ArrayLike, n: int) -> NDArray[np.intp]:
    """(n,) the unit of each image."""
    return _whole(name, given, n, "the same for images of one scene").astype(np.intp)


def content_hashes(features: Rows, embeddings: Rows) -> list[str]:
    """(n,) what stands for each image's content: a hash of its rows."""
    return [hashlib.sha256(a.tobytes() + b.tobytes()).hexdigest() for a, b in zip(features, embeddings, strict=True)]


def mismatch(name: str, expected: str, shape: tuple[int, ...]) -> ConfigError:
    """An array of another shape than the others'."""
    return ConfigError(f"expected {name} of shape {expected}; found {shape}", hint="See help(singaudit.audit_arrays).")


def _whole(name: str, given: ArrayLike, n: int, meaning: str) -> NDArray[np.integer]:
    array = np.asarray(given)
    if array.dtype.kind not in "iu" or array.shape != (n,):
        raise ConfigError(
            f"expected {n} integers in {name}, found {array.dtype} of shape {array.shape}",
            hint=f"One number for each image, {meaning}.",
        )
    return array


def _shaped(
    name: str, given: ArrayLike, dims: int, shape: Sequence[int | None] | None, why: str
) -> NDArray[np.generic]:
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
        raise mismatch(name, f"({sizes}{',' if dims == 1 else ''}){', ' + why if why else ''}", array.shape)
    return array


def _unit(name: str, array: Array) -> Array:
    if not (np.linalg.norm(array, axis=1) > 0).all():
        raise ConfigError(
            f"expected no row of zeros in {name}, found one", hint="An embedding of length 0 says nothing."
        )
    return unit(array)


def _not_finite(name: str) -> ConfigError:
    return ConfigError(f"expected finite numbers in {name}, found NaN or infinity", hint="Leave those images out.")
