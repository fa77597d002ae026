"""An audit with a pack in the language model's place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.shelf import Shelf
from singaudit.config import AuditConfig
from singaudit.dataset.interface import ImageSource
from singaudit.dataset.labels import resolve_labels
from singaudit.dataset.sources.listing import Listing
from singaudit.engine.interface import Pass
from singaudit.errors import ConfigError, LanguageError
from singaudit.language.packs.pack import Pack


class PackedEncoder:
    """A pack in the place of the model that made it; implements ``Encoder``."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        m, tensors = pack.manifest, pack.file.tensors
        self.name, self.revision = m.encoder.name, m.encoder.revision
        self.family, self.embedding_dim = m.encoder.family, m.encoder.embedding_dim
        self.precision = m.encoder.precision
        self.runtime = "a pack"
        self.images = Shelf.of(tensors["digests"], (tensors["embeddings"],))
        """Rows of the images inside."""
        self._texts = {text: i for i, text in enumerate(m.prompts)}

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Nothing can be prepared: there is no model. Raises ``LanguageError``."""
        raise self._no_model()

    def encode_images(self, inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        """Nothing can be encoded: there is no model. Raises ``LanguageError``."""
        raise self._no_model()

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """As ``Encoder.encode_texts``, of texts that were packed. Raises ``LanguageError`` naming one that was not."""
        missing = [text for text in texts if text not in self._texts]
        if missing:
            raise LanguageError(
                f"expected the embedding of every text in the pack {self._pack.file.name}, {len(set(missing))} are not "
                f"there, such as {missing[0][:200]!r}",
                hint="Pack the images again with --classes and --concepts as this audit has them.",
            )
        found: NDArray[np.float64] = self._pack.file.tensors["texts"][[self._texts[text] for text in texts]]
        return np.asarray(found, np.float64)

    def text_batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """As ``Encoder.text_batches``, in one batch."""
        yield np.arange(len(texts)), self.encode_texts(texts).astype(np.float32)

    def unknown(self, texts: Sequence[str]) -> list[str]:
        """None: every text was packed."""
        return []

    def learn(self, texts: Sequence[str], progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Nothing has to be learnt: every text was packed."""

    def _no_model(self) -> LanguageError:
        return LanguageError(
            f"the pack {self._pack.file.name} holds no embedding of this image, and no model to make one",
            hint="Pack it too, or give --vlm instead of --pack.",
        )


def check_pack(pack: Pack, vlm: str, precision: str, texts: Sequence[str]) -> None:
    """Refuse, before any work, a pack of another model than the one named, or without a text that will be needed.

    Raises ``ConfigError`` or ``LanguageError``.
    """
    made_by = pack.manifest.encoder.name
    if vlm not in (AuditConfig.model_fields["vlm"].default, made_by):
        raise ConfigError(
            f"expected the language model of the pack {pack.file.name}, {made_by!r}, or none, got --vlm {vlm[:200]!r}",
            hint="Leave --vlm out, or --pack",
        )
    made_in = pack.manifest.encoder.precision
    if precision not in (AuditConfig.model_fields["precision"].default, made_in):
        raise ConfigError(
            f"expected the precision of the pack {pack.file.name}, {made_in}, or none, got --precision {precision}",
            hint="Leave --precision out, or pack the images again with it",
        )
    PackedEncoder(pack).encode_texts(texts)


def packed_labels(
    pack: Pack, source: ImageSource, used: Pass, class_names: Sequence[str]
) -> tuple[list[int] | None, str]:
    """As ``resolve_labels`` for images of a source without labels, of what the pack knows of the images used.

    Images that were not used get class 0, which nothing reads.
    """
    known = pack.manifest.labels
    if known is None:
        return None, "none: neither the source nor the pack has labels"
    row = {digest.tobytes().hex(): i for i, digest in enumerate(pack.file.tensors["digests"])}
    labels = tuple(known[row[sha256]] for sha256 in used.sha256)
    listing = Listing(pack.file.name, used.names, lambda index: b"", labels, pack.manifest.label_kind)
    found, words = resolve_labels(listing, "auto", class_names)
    if found is None:
        return None, words
    every = np.zeros(len(source), np.intp)
    every[used.indices] = found
    return every.tolist(), "the pack's labels"


def pack_warnings(pack: Pack, images: Pass, probe: Pass | None) -> list[str]:
    """What was in the images and not in the pack, and the other way round, in words."""
    warnings = []
    for one in (images, probe):
        if one is not None and one.outside:
            warnings.append(f"{one.outside} images of {one.source} are not in the pack and were left out")
    used = len(images.names) + (len(probe.names) if probe is not None else 0)
    if used < len(pack):
        warnings.append(f"{len(pack) - used} of the pack's {len(pack)} images were not among those given")
    return warnings
