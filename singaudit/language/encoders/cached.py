"""A vision-language model that is opened only for images and texts whose embeddings are not cached."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.store import Cache
from singaudit.errors import LanguageError
from singaudit.language.encoders.revision import revision_of
from singaudit.language.encoders.running.exports import Exports
from singaudit.language.interface import Encoder
from singaudit.machine import arithmetic


class CachedEncoder:
    """The encoder ``name``, implementing ``Encoder``; ``open`` gives the model itself and is called once at most.

    Without a revision that can be known beforehand, or facts of an earlier audit, it is opened at once. Texts are
    encoded once per audit even without a cache folder.
    """

    def __init__(
        self, name: str, device: str, cache: Cache, open: Callable[[Exports | None], Encoder], precision: str = "fp32"
    ) -> None:
        self.name, self.precision = name, precision
        self._open, self._lock = open, threading.Lock()
        self._opened: Encoder | LanguageError | None = None
        found = revision_of(name, cache)
        self._found, self._cache = found, cache
        self._exports = Exports(cache, found.fingerprint) if found is not None else None
        named = cache.name_of(
            "encoder", {"of": found.fingerprint if found else name, "device": device, "precision": precision}
        )
        facts = cache.recall(named) if found is not None else None
        if found is None or facts is None:
            encoder = self._model()
            facts = {key: getattr(encoder, key) for key in ("revision", "family", "embedding_dim", "runtime")}
            if found is not None:
                cache.remember(named, facts)
        self.revision = str(facts["revision"])
        self.family = str(facts["family"])
        self.embedding_dim = int(facts["embedding_dim"])
        self.runtime = str(facts["runtime"])
        identity = {
            "encoder": found.fingerprint if found is not None else f"{name} {self.revision}",
            "device": [device.partition(":")[0], arithmetic(device)],
            "precision": precision,
        }
        self.images = cache.shelf("images", identity) if cache.folder is not None else None
        """Rows for a pass over images; None without a cache."""
        self._texts = cache.shelf("texts", identity)
        self._unkept: dict[str, NDArray[np.float32]] = {}  # where the cache cannot be written

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As ``Encoder.prepare``."""
        return self._model().prepare(pixels)

    def encode_images(self, inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        """As ``Encoder.encode_images``."""
        return self._model().encode_images(inputs)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """As ``Encoder.encode_texts``; only texts that were never encoded reach the model."""
        self.learn(texts)
        keys, found = [_key(text) for text in texts], np.empty((len(texts), self.embedding_dim))
        stored = [i for i, key in enumerate(keys) if key not in self._unkept]
        if stored:
            found[stored] = self._texts.take([keys[i] for i in stored])[0]
        for i, key in enumerate(keys):
            if key in self._unkept:
                found[i] = self._unkept[key]
        return found

    def text_batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """As ``Encoder.text_batches``, in one batch."""
        yield np.arange(len(texts)), self.encode_texts(texts).astype(np.float32)

    def learn(self, texts: Sequence[str], progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Encode those of ``texts`` that never were, and keep them as they are done.

        ``progress`` is told how many of how many are. An interrupt or a kill loses a few seconds of work.
        """
        new = self._new(texts)
        if not new:
            return
        keys, done = list(new), 0
        progress(0, len(keys))
        try:
            for rows, embeddings in self._model().text_batches(list(new.values())):
                self._texts.add([keys[i] for i in rows], (embeddings,))
                self._unkept.update((keys[i], row) for i, row in zip(rows, embeddings, strict=True))
                done += len(rows)
                progress(done, len(keys))
        finally:
            self._texts.flush()
            self._unkept = {key: row for key, row in self._unkept.items() if key not in self._texts}

    def unknown(self, texts: Sequence[str]) -> list[str]:
        """Those of ``texts`` that were never encoded, once each."""
        return list(self._new(texts).values())

    def _new(self, texts: Sequence[str]) -> dict[str, str]:
        return {key: text for text in texts if (key := _key(text)) not in self._texts and key not in self._unkept}

    def _model(self) -> Encoder:
        # Decoding threads ask at the same time; a model that cannot be opened is tried once, not once per image.
        with self._lock:
            if self._opened is None:
                try:
                    self._opened = self._same(self._open(self._exports))
                except LanguageError as error:
                    self._opened = error
            if isinstance(self._opened, LanguageError):
                raise self._opened
            return self._opened

    def _same(self, opened: Encoder) -> Encoder:
        """The model, if what it was opened from, and what its folder still holds, is what it was named by.

        Raises ``LanguageError``.
        """
        found = self._found
        if found is None:
            return opened
        read: Mapping[str, str] = getattr(opened, "digests", {})
        others = [name for name, digest in read.items() if found.files.get(name, digest) != digest]
        now = revision_of(self.name, self._cache) if Path(self.name).is_dir() else found
        if others or now is None or now != found or now.pickled != found.pickled:
            raise LanguageError(
                f"the files of {self.name} changed while the model was opened: its embeddings could not be told whose "
                "they are",
                hint="Run the same command again once nobody writes there.",
            )
        return opened


def _key(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def exports_of(name: str, cache: Cache) -> Exports | None:
    """The exports of the checkpoint that ``name`` stands for; None where only opening it can tell which that is."""
    found = revision_of(name, cache)
    return Exports(cache, found.fingerprint) if found is not None else None
