"""The models of a pass as picklable recipes: what a worker needs to open the same ones where it runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.store import Cache, cache_folder
from singaudit.classifier.interface import Classifier
from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.preprocessing.resolve import prepare
from singaudit.dataset.thumbnail import thumbnail
from singaudit.engine.interface import Outputs
from singaudit.errors import LanguageError, ModelError
from singaudit.language.encoders.cached import exports_of
from singaudit.language.encoders.table import open_encoder
from singaudit.language.interface import Encoder


@dataclass(frozen=True)
class ClassifierModel:
    """An open classifier as a ``StepModel``: its arrays are features and logits."""

    classifier: Classifier

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
        """As ``StepModel.prepare``."""
        return prepare(pixels, self.classifier.preprocessing)

    def compute(self, inputs: NDArray[np.generic]) -> Outputs:
        """Features (n, m) and logits (n, c)."""
        return self.classifier.forward(inputs)


@dataclass(frozen=True)
class ClassifierRecipe:
    """Implements ``Recipe``."""

    model: str
    """As the user named it; a file by a path that is good where the recipe is opened."""
    options: ModelOptions
    """What the user said of it."""
    sha256: str
    """Of the model that is meant."""

    def open(self) -> ClassifierModel:
        """Open it. Raises ``ModelError`` for a missing file and for another model than was meant."""
        classifier = open_classifier(self.model, self.options)
        if classifier.sha256 != self.sha256:
            raise ModelError(
                f"expected the model {self.model} with sha256 {self.sha256[:12]}..., found {classifier.sha256[:12]}...",
                hint="The file changed, or is another one on this machine: use one file on a shared disk.",
            )
        return ClassifierModel(classifier)


@dataclass(frozen=True)
class EncoderModel:
    """An open vision-language model as a ``StepModel``: its array is the embeddings."""

    encoder: Encoder

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
        """As ``StepModel.prepare``."""
        return self.encoder.prepare(pixels)

    def compute(self, inputs: NDArray[np.generic]) -> Outputs:
        """Embeddings (n, d)."""
        return (self.encoder.encode_images(inputs),)


@dataclass(frozen=True)
class EncoderRecipe:
    """Implements ``Recipe``."""

    name: str
    """As ``--vlm`` names it."""
    device: str
    """torch's name of one."""
    precision: str
    """fp32 or bf16."""
    revision: str
    """Of the model that is meant."""
    cache: str = "none"
    """A ``--cache`` setting: where exports of its towers are kept."""

    def open(self) -> EncoderModel:
        """Open it. Raises ``LanguageError``, also for other weights than were meant."""
        exports = exports_of(self.name, Cache(cache_folder(self.cache)))
        encoder = open_encoder(self.name, device=self.device, precision=self.precision, exports=exports)
        if encoder.revision != self.revision:
            raise LanguageError(
                f"expected the vision-language model {self.name} of revision {self.revision[:12]}, "
                f"found {encoder.revision[:12]}",
                hint="Use one folder on a shared disk, or name the hub's revision: ORG/NAME@REVISION.",
            )
        return EncoderModel(encoder)


@dataclass(frozen=True)
class ThumbnailRecipe:
    """Implements ``Recipe``, and is the model that it opens: small grey pictures by which scenes are compared."""

    def open(self) -> ThumbnailRecipe:
        """Nothing has to be opened."""
        return self

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
        """As ``StepModel.prepare``."""
        return thumbnail(pixels)

    def compute(self, inputs: NDArray[np.generic]) -> Outputs:
        """The thumbnails, as they are."""
        return (np.asarray(inputs, np.float32),)
