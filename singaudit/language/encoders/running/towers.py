"""The two towers of a vision-language model in torch, and what both ways to run them share: shapes that repeat."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from threading import Barrier
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from singaudit.language.encoders.checks import failures_told
from singaudit.language.encoders.running.beginnings import Beginnings
from singaudit.machine import cores

if TYPE_CHECKING:
    from singaudit.language.encoders.running.lean import Lean

Array = NDArray[Any]
TEXTS = 32
"""Texts of one run at most."""
_FILLED = 8
"""Texts of every run on a CPU whose bits depend on their number: as many as are worth a run, and few to fill up."""
INPUTS = ("rows", "keys", "values")
"""Of an exported tower: images or tokens, and what stands before tokens."""
SMALL_PARAMETERS = 10_000_000
"""Below this a model runs on one thread, and an export would cost more than it brings."""
_WAVE = 4
"""Batches of texts that are asked for at once: they run side by side where that pays."""
_IMAGES, _SMALL_IMAGES = 4, 16
"""Images of one run: pieces this small stay in a core's cache (ViT-B/32, CPU-seconds an image of ONNX Runtime at 1, 2,
4, 8 and 16: 0.18, 0.16, 0.14, 0.14, 0.16); a small model's cost is in the number of runs."""


class Towers(Protocol):
    """Prepared images and tokens to embeddings of any length."""

    runtime: str
    """What runs them and, where that is not the fast way, why; in words."""
    exact: bool
    """Whether a row's bits do not depend on how many rows run with it."""
    filled: int
    """Texts of every run where bits depend on their number: what lacks is filled up."""

    def images(self, inputs: Array) -> Array:
        """Prepared images (n, ...) -> (n, d) floating point."""
        ...

    def texts(self, batches: Sequence[NDArray[np.int64]]) -> list[Array]:
        """Per batch of tokens (k, length): (k, d) floating point."""
        ...

    def used(self, ids: Sequence[int]) -> Sequence[int]:
        """The tokens of a text that its embedding depends on, the others being left out."""
        ...


class TorchTowers:
    """Towers as torch modules: ``image`` takes a tensor of prepared images, ``text`` one of tokens (k, length).

    ``model`` is the library's, of which they run parts; None where they run none. ``lean`` makes the modules that
    compute the same with less; None where there are none. With ``beginnings``, ``text`` is one of those and takes keys
    and values of what stands before its tokens.
    """

    def __init__(
        self, name: str, model: Any, image: Any, text: Any, device: str,
        lean: Callable[[], Lean | None] = lambda: None, beginnings: Beginnings | None = None, exact: bool = False,
    ) -> None:  # fmt: skip
        self.image, self.text, self.lean, self.runtime, self.exact = image, text, lean, "torch", exact
        self._name, self._model, self._device, self._beginnings = name, model, device, beginnings
        self.parameters = sum(p.numel() for module in (image, text) for p in module.parameters())
        self.on_cpu = device.partition(":")[0] == "cpu"
        self.filled = _FILLED if self.on_cpu else TEXTS
        small = self.parameters < SMALL_PARAMETERS
        self._piece = _SMALL_IMAGES if small else _IMAGES
        import torch

        if small:
            # Several threads on matrices this small wait for each other longer than they compute, and take the
            # cores from decoding: 4.8 times slower when another process is busy.
            torch.set_num_threads(1)
        # Threads that wait for each other at every layer spin: what is cut into pieces goes side by side instead.
        self._pool = _torch_pool() if self.on_cpu and not small and cores() > 1 else None

    def leaned(self, lean: Lean, exact: bool) -> TorchTowers:
        """The same model by its lean modules; ``exact`` whether their bits do not depend on the number of texts."""
        image = self.image if lean.image is None else lean.image
        if lean.text is None:
            return TorchTowers(self._name, self._model, image, self.text, self._device)
        known = Beginnings(lean.end, lean.text.state, exact)
        model = self._model if lean.image is None else None  # nothing of it runs, and nobody needs to keep it
        return TorchTowers(self._name, model, image, lean.text, self._device, beginnings=known, exact=exact)

    def halve(self) -> None:
        """Let both towers compute in bf16, in place: of the library's every number, of lean ones what is multiplied."""
        import torch

        from singaudit.language.encoders.running.lean import ImageTower, TextTower, halve

        for tower in (self.image, self.text):
            if isinstance(tower, ImageTower | TextTower):
                halve(tower)
        if self._model is not None:
            self._model.to(torch.bfloat16)

    def images(self, inputs: Array) -> Array:
        """As ``Towers.images``. On a CPU in pieces of one size, so that no image's bits depend on those beside it."""
        if not self.on_cpu:
            return self._run(self.image, inputs)[0]
        parts = [piece for piece, _ in pieces(inputs, self._piece)]
        return np.concatenate(self._each(lambda rows: self._run(self.image, rows)[0], parts))[: len(inputs)]

    def texts(self, batches: Sequence[NDArray[np.int64]]) -> list[Array]:
        """As ``Towers.texts``."""
        return _texts(self._beginnings, batches, partial(self._run, self.text), self._each)

    def used(self, ids: Sequence[int]) -> Sequence[int]:
        """As ``Towers.used``."""
        return ids if self._beginnings is None else self._beginnings.used(ids)

    def _each(self, call: Callable[[Array], Any], parts: Sequence[Array]) -> list[Any]:
        return list((self._pool.map if self._pool else map)(call, parts))

    def _run(self, module: Any, *given: Array) -> list[Array]:
        import torch

        with torch.inference_mode(), failures_told(self._name):
            made = module(*(torch.from_numpy(np.ascontiguousarray(rows)).to(self._device) for rows in given))
            kept = made if isinstance(made, tuple) else (made,)
            return [np.asarray(one.float().cpu().numpy()) for one in kept]


class OnnxTowers:
    """Towers as ONNX Runtime sessions on the CPU; ``exact`` as was found when they were exported.

    ``beginnings`` where the text tower takes keys and values of what stands before its tokens.
    """

    runtime, filled = "ONNX Runtime", _FILLED

    def __init__(self, image: Any, text: Any, exact: bool, workers: int, beginnings: Beginnings | None = None) -> None:
        self._image, self._text, self.exact, self._beginnings = image, text, exact, beginnings
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="tower")

    def images(self, inputs: Array) -> Array:
        """As ``Towers.images``: pieces of one size side by side, each on its own threads."""
        parts = self._each(
            lambda rows: self._run(self._image, rows)[0], [piece for piece, _ in pieces(inputs, _IMAGES)]
        )
        return np.concatenate(parts)[: len(inputs)]

    def texts(self, batches: Sequence[NDArray[np.int64]]) -> list[Array]:
        """As ``Towers.texts``."""
        return _texts(self._beginnings, batches, partial(self._run, self._text), self._each)

    def used(self, ids: Sequence[int]) -> Sequence[int]:
        """As ``Towers.used``."""
        return ids if self._beginnings is None else self._beginnings.used(ids)

    def _each(self, call: Callable[[Array], Any], parts: Sequence[Array]) -> list[Any]:
        return list(self._pool.map(call, parts))

    def _run(self, session: Any, *given: Array) -> Sequence[Array]:
        from singaudit.classifier.graph.session import run

        outputs = [item.name for item in session.get_outputs()]
        return run(session, outputs, dict(zip(INPUTS, given, strict=False)))


def _texts(
    beginnings: Beginnings | None,
    batches: Sequence[NDArray[np.int64]],
    run: Callable[..., Sequence[Array]],
    each: Callable[..., Any],
) -> list[Array]:
    """Per batch of tokens (k, length): (k, d); ``run`` is one run of the text tower, ``each`` maps side by side."""
    if beginnings is None:
        found: list[Array] = each(lambda rows: run(rows)[0], batches)
        return found
    return beginnings.texts(batches, run, each)


@cache
def _torch_pool() -> ThreadPoolExecutor:
    """Threads that run pieces side by side, each with its share of torch's threads.

    torch keeps that number for the whole process, and a thread reads it once: all start here, before it is put back.
    """
    import torch

    workers, threads = abreast()
    before, together = torch.get_num_threads(), Barrier(workers)
    pool = ThreadPoolExecutor(workers, "torch", torch.set_num_threads, (threads,))
    deque(pool.map(lambda _: together.wait(), range(workers)), maxlen=0)
    torch.set_num_threads(before)
    return pool


def abreast() -> tuple[int, int]:
    """(pieces run side by side on a CPU, threads of each): a usual batch has four pieces."""
    workers = min(cores(), 4)
    return workers, max(1, cores() // workers)


def pieces(rows: Array, size: int) -> Iterator[tuple[Array, int]]:
    """(piece of exactly ``size`` rows, how many of them count); the last is filled up with its last row."""
    for start in range(0, len(rows), size):
        piece = rows[start : start + size]
        count = len(piece)
        if count < size:
            piece = np.concatenate([piece, np.repeat(piece[-1:], size - count, axis=0)])
        yield np.ascontiguousarray(piece), count


def unit(rows: Array) -> NDArray[np.float32]:
    """Rows of unit length, computed in float64."""
    exact = rows.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    return (exact / np.maximum(lengths, 1e-12)).astype(np.float32)


def embed_texts(
    tokens: Sequence[Sequence[int]], towers: Towers
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """(positions, unit embeddings (k, d)) of the texts of ``tokens``, as they are done.

    Texts of equally many tokens go together, so that nothing is padded and no text's embedding depends on those beside
    it. Batches are filled up to one size only where a row's bits would depend on the number of rows.
    """
    tokens = [towers.used(ids) for ids in tokens]
    lengths = np.array([len(ids) for ids in tokens], np.intp)
    batches, size = [], TEXTS if towers.exact else towers.filled
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length)
        batches += [same[start : start + size] for start in range(0, len(same), size)]
    for start in range(0, len(batches), _WAVE):
        positions = batches[start : start + _WAVE]
        filled = [rows if towers.exact else np.resize(rows, size) for rows in positions]
        found = towers.texts([np.array([tokens[i] for i in rows], np.int64) for rows in filled])
        for rows, embeddings in zip(positions, found, strict=True):
            yield rows, unit(embeddings[: len(rows)])


Prepare = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(h, w, 3) uint8 -> one input of the image tower."""
