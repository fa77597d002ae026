"""Arrays that somebody gives, checked before anything is computed: shapes, kinds and values, refused in words.

Large arrays may lie on disk: they are looked at a block of rows at a time, and what must be changed of them is written
to a file without a name, which the system removes with the process.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence

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
    if array.dtype != np.float32:
        return _kept(given, array.shape, _finite(name, array))
    for _ in _finite(name, array):
        pass
    return np.asarray(array, np.float32)


def directions(name: str, given: ArrayLike, shape: Sequence[int | None], why: str) -> Rows:
    """Rows of unit length, in float32."""
    array = _shaped(name, given, 2, shape, why)
    return _kept(given, array.shape, (_unit(name, part.astype(np.float64)) for part in _finite(name, array)))


def _finite(name: str, array: NDArray[np.generic]) -> Iterator[Rows]:
    """The rows in float32, a block at a time."""
    for start in range(0, len(array), _BLOCK):
        with np.errstate(over="ignore"):
            part = array[start : start + _BLOCK].astype(np.float32)
        if not np.isfinite(part).all():
            raise _not_finite(name)
        yield part


def _kept(given: ArrayLike, shape: tuple[int, ...], parts: Iterable[NDArray[np.floating]]) -> Rows:
    """Blocks of rows put together: in memory, or on disk where ``given`` lies there."""
    if not isinstance(given, np.memmap):
        found = np.empty(shape, np.float32)
        at = 0
        for part in parts:
            found[at : at + len(part)] = part
            at += len(part)
        return found
    try:
        with tempfile.TemporaryFile() as file:
            for part in parts:
                file.write(np.ascontiguousarray(part, np.float32).data)
            file.flush()
            return np.asarray(np.memmap(file, np.float32, "r", shape=(shape[0], shape[1])))
    except OSError as error:
        size = 4 * shape[0] * shape[1] / 2**20
        raise ConfigError(
            f"expected room for {size:,.0f} MiB in {tempfile.gettempdir()}, it cannot be written there: {error}",
            hint="Make room, or name another folder in the environment variable TMPDIR.",
        ) from error


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
