"""A vision-language model that is opened only for images and texts whose embeddings are not cached."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.store import Cache
from singaudit.errors import LanguageError
from singaudit.language.encoders.revision import revision_of
from singaudit.language.interface import Encoder
from singaudit.machine import arithmetic


class CachedEncoder:
    """The encoder ``name``, implementing ``Encoder``; ``open`` gives the model itself and is called once at most.

    Without a revision that can be known beforehand, or facts of an earlier audit, it is opened at once. Texts are
    encoded once per audit even without a cache folder.
    """

    def __init__(
        self, name: str, device: str, cache: Cache, open: Callable[[], Encoder], precision: str = "fp32"
    ) -> None:
        self.name, self.precision = name, precision
        self._open, self._lock = open, threading.Lock()
        self._opened: Encoder | LanguageError | None = None
        found = revision_of(name, cache) if cache.folder is not None else None
        facts = cache.recall(f"encoder-{found.fingerprint}") if found is not None else None
        if found is None or facts is None:
            encoder = self._model()
            facts = {"revision": encoder.revision, "family": encoder.family, "embedding_dim": encoder.embedding_dim}
            if found is not None:
                cache.remember(f"encoder-{found.fingerprint}", facts)
        self.revision = str(facts["revision"])
        self.family = str(facts["family"])
        self.embedding_dim = int(facts["embedding_dim"])
        identity = {
            "encoder": found.fingerprint if found is not None else f"{name} {self.revision}",
            "device": [device.partition(":")[0], arithmetic(device)], "precision": precision,
        }  # fmt: skip
        self.images = cache.shelf("images", identity) if cache.folder is not None else None
        """Rows for a pass over images; None without a cache."""
        self._texts = cache.shelf("texts", identity)

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As ``Encoder.prepare``."""
        return self._model().prepare(pixels)

    def encode_images(self, inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        """As ``Encoder.encode_images``."""
        return self._model().encode_images(inputs)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """As ``Encoder.encode_texts``; only texts that were never encoded reach the model."""
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._texts}
        computed: dict[str, NDArray[np.float64]] = {}
        if new:
            rows = self._model().encode_texts(list(new.values()))
            computed = dict(zip(new, rows, strict=True))
            self._texts.add(list(new), (rows,))
            self._texts.flush()
        found = np.empty((len(texts), self.embedding_dim))
        old = [i for i, key in enumerate(keys) if key not in computed]
        if old:
            found[old] = self._texts.take([keys[i] for i in old])[0]
        for i, key in enumerate(keys):
            if key in computed:
                found[i] = computed[key]
        return found

    def _model(self) -> Encoder:
        # Decoding threads ask at the same time; a model that cannot be opened is tried once, not once per image.
        with self._lock:
            if self._opened is None:
                try:
                    self._opened = self._open()
                except LanguageError as error:
                    self._opened = error
            if isinstance(self._opened, LanguageError):
                raise self._opened
            return self._opened
