"""What every vision-language model offers: two towers into one space, and who it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Encoder(Protocol):
    """A vision-language model's two towers."""

    @property
    def name(self) -> str:
        """As the user named it."""
        ...

    @property
    def revision(self) -> str:
        """Commit on the hub, or sha256 of the local weights."""
        ...

    @property
    def family(self) -> str:
        """clip, siglip, siglip2, ..."""
        ...

    @property
    def embedding_dim(self) -> int:
        """d: width of both towers' outputs."""
        ...

    @property
    def runtime(self) -> str:
        """What runs its towers and, where that is not the fast way, why; in words."""
        ...

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One image (h, w, 3) uint8 -> one input of the image tower, float32."""
        ...

    def encode_images(self, inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        """Prepared images (n, ...) -> embeddings (n, d), float32, unit length."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Texts -> embeddings (k, d), float64, unit length."""
        ...

    def text_batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """As ``encode_texts``, but (positions, embeddings (k, d)) as they are done, in bounded steps."""
        ...
