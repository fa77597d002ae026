"""Show images to the classifier and to the vision-language model: one pass, and each image is seen once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.merge import not_used
from singaudit.cache.store import Cache, cache_folder
from singaudit.classifier.fingerprint import forward_identity
from singaudit.classifier.graph.session import providers
from singaudit.classifier.interface import Classifier
from singaudit.classifier.options import model_options
from singaudit.config import AuditConfig
from singaudit.dataset.columns import TableFile
from singaudit.dataset.interface import ImageSource
from singaudit.dataset.labels import resolve_units
from singaudit.dataset.unchanged import UnchangedSource
from singaudit.engine.interface import EngineSettings, Pass, Step, anywhere
from singaudit.engine.table import open_engine
from singaudit.errors import ModelError
from singaudit.language.concepts import Group, all_prompts
from singaudit.language.encoders.cached import CachedEncoder
from singaudit.language.encoders.running.exports import Exports
from singaudit.language.encoders.table import open_encoder
from singaudit.language.interface import Encoder
from singaudit.language.packs.encoder import PackedEncoder, packed_labels
from singaudit.language.packs.pack import Pack
from singaudit.language.translators.file import StoredTranslator
from singaudit.machine import torch_device
from singaudit.metrics.units import Units, distinct, find_units, given
from singaudit.pipeline.passes.asked import Asked
from singaudit.pipeline.passes.estimate import said, timed
from singaudit.pipeline.passes.recipes import (
    ClassifierModel,
    ClassifierRecipe,
    EncoderModel,
    EncoderRecipe,
    ThumbnailRecipe,
)

_log = logging.getLogger(__name__)
_TOO_FEW_TO_TIME = 100
"""Images below which an audit is over before its estimate could be of use."""
_TIMED_TEXTS = 32

Progress = Callable[[str, int, int], None]
"""Told (stage, done, total) as the audit advances."""


@dataclass(frozen=True)
class Observed:
    """What the pass over the images gave."""

    source: UnchangedSource
    """Of the audited images; what changed since is refused."""
    images: Pass
    """Of the audited images; step "classifier" holds features and logits, "encoder" the embeddings."""
    probe: Pass | None
    """The same of the probe images."""
    encoder: CachedEncoder | PackedEncoder
    """The vision-language model."""
    pack: Pack | None
    """Stored embeddings, where they stand in its place."""
    labels: list[int] | None
    """Class of each image of the source, where it is known."""
    labels_source: str
    """In words."""
    own: dict[str, NDArray[np.intp]]
    """Values of concept groups by the user's labels, for every image of the source; -1 where unknown."""
    units: Units
    """Which of the audited images show the same scene."""
    probe_units: Units | None
    """The same of the probe images."""
    tables: tuple[TableFile, ...] = ()
    """Text files that say which images there are and what they show."""


class Observer:
    """The classifier and the vision-language model, ready to look; what was computed before is not again."""

    def __init__(
        self, config: AuditConfig, classifier: Classifier, progress: Progress, pack: Pack | None = None
    ) -> None:
        self._config, self._progress = config, progress
        self._engine = open_engine(
            config.engine,
            EngineSettings(config.ray_address, config.ray_actors, config.ray_cpus, config.ray_gpus),
        )
        self._cache, device = Cache(cache_folder(config.cache)), torch_device(config.device)

        def opened(exports: Exports | None) -> Encoder:
            progress("open the vision-language model", 0, 1)
            found = open_encoder(
                config.vlm, device=device, precision=config.precision, progress=progress, exports=exports
            )
            progress("open the vision-language model", 1, 1)
            return found

        encoder = (
            PackedEncoder(pack)
            if pack is not None
            else CachedEncoder(config.vlm, device, self._cache, opened, config.precision)
        )
        self.encoder: CachedEncoder | PackedEncoder = encoder
        # A pack knows nothing of images that it does not hold.
        self._only = encoder.images if pack is not None else None
        identity = forward_identity(classifier, providers(config.device)[0])
        features = self._cache.shelf("features", identity) if self._cache.folder is not None else None
        if features is not None and not len(features) and (why := not_used(self._cache, "features", identity)):
            _log.warning("the cache holds features of this model that are not used here: they were made with %s", why)
        self._steps = {
            "classifier": Step(
                ClassifierRecipe(anywhere(config.model), model_options(config), classifier.sha256),
                features,
                ClassifierModel(classifier),
            ),
            "encoder": Step(
                EncoderRecipe(anywhere(config.vlm), device, config.precision, encoder.revision, config.cache),
                encoder.images,
                EncoderModel(encoder),
            ),
        }
        if pack is None or config.images is not None:  # a pack alone has embeddings, no images
            thumbnails = self._cache.shelf("thumbnails", {}) if self._cache.folder is not None else None
            self._steps["thumbnail"] = Step(ThumbnailRecipe(), thumbnails)

    @property
    def batch_size(self) -> int:
        """Images of a batch."""
        return self._config.batch_size or 16

    @property
    def cache_folder(self) -> Path | None:
        """Where what was computed is kept."""
        return self._cache.folder

    def computed(self) -> dict[str, int]:
        """Rows that were computed for want of cached ones, by step."""
        return {key: step.shelf.added for key, step in self._steps.items() if step.shelf is not None}

    def observe(
        self,
        stage: str,
        images: ImageSource,
        exclude: frozenset[str] = frozenset(),
        start: int = 0,
        limit: int | None = None,
    ) -> Pass:
        """One pass over ``images`` from position ``start`` to before ``limit`` and the settings' limit.

        Images whose content hash is in ``exclude`` are left out.
        """
        count = min(len(images), limit or len(images), self._config.limit or len(images))
        done, whole = 0, count - start

        def advance(n: int) -> None:
            nonlocal done
            done += n
            self._progress(stage, done, whole)

        return self._engine(
            images,
            self._steps,
            batch_size=self.batch_size,
            exclude=exclude,
            limit=count,
            start=start,
            progress=advance,
            only=self._only,
        )

    def tell_estimate(self, images: ImageSource, groups: Sequence[Group]) -> None:
        """Say how long the audit will take, where somebody listens; a timed batch of each model costs a few images."""
        say: Callable[[str], None] | None = getattr(self._progress, "say", None)
        count = min(len(images), self._config.limit or len(images))
        if say is None or not getattr(self._progress, "listening", False) or count < _TOO_FEW_TO_TIME:
            return
        words = tuple(group.values[0] for group in groups if group.kind == "concept")
        new = self.encoder.unknown(all_prompts(tuple(group for group in groups if group.kind != "concept"), words))
        started, first = time.perf_counter(), new[:_TIMED_TEXTS]
        if first:
            self.encoder.learn(first[:1])  # opens the model
            started = time.perf_counter()
            self.encoder.learn(first)
        each = (time.perf_counter() - started) / max(1, len(first))
        on_cpu = torch_device(self._config.device) == "cpu"
        if (found := timed(images, self._steps, count, len(new), each, on_cpu)) is not None:
            for line in said(found, self._config, on_cpu):
                say(line)

    def close(self) -> None:
        """Hold no rows of the cache, and keep it within its limit; what this audit needs stays in any case."""
        shelves = [step.shelf for step in self._steps.values() if step.shelf is not None]
        for shelf in shelves:
            shelf.settle()
        self._cache.prune(spared=[shelf.folder for shelf in shelves if shelf.folder is not None])


def observe_images(
    config: AuditConfig,
    classifier: Classifier,
    names: tuple[str, ...],
    asked: Asked,
    progress: Progress,
    stored: StoredTranslator | None = None,
    pack: Pack | None = None,
) -> Observed:
    """One pass over the images, and one over the probe images: classifier and encoder see each image once.

    Images that a ``stored`` translator was fitted on are left out.
    """
    source, labels, labels_source = asked.source, asked.labels, asked.labels_source
    observer = Observer(config, classifier, progress, pack)
    if stored is not None:
        stored.check_encoder(observer.encoder)
    observer.tell_estimate(source, asked.groups)
    images = observer.observe("look at the images", source, stored.sha256 if stored is not None else frozenset())
    probe = observer.observe("look at the probe images", asked.probe, frozenset(images.sha256)) if asked.probe else None
    observer.close()
    check_finite(classifier, *images.outputs["classifier"])
    if labels is None and config.labels == "auto" and pack is not None:
        labels, labels_source = packed_labels(pack, source, images, names)
    units = units_of(config, images, asked.scenes, progress)
    probe_units = None
    if probe is not None and asked.probe is not None:
        probe_units = units_of(config, probe, resolve_units(asked.probe, "none", "auto"), progress)
    same = unchanged(source, images)
    return Observed(
        same, images, probe, observer.encoder, pack, labels, labels_source, asked.own, units, probe_units, asked.tables
    )


def units_of(config: AuditConfig, images: Pass, scenes: NDArray[np.int64] | None, progress: Progress) -> Units:
    """Which of ``images`` show the same scene: as ``scenes`` (of all images of the source) says, else found."""
    if config.units == "none":
        return distinct(len(images.names))
    if scenes is not None:
        return given(scenes[images.indices])
    thumbnails = images.outputs["thumbnail"][0] if "thumbnail" in images.outputs else None
    return find_units(
        images.outputs["classifier"][0],
        images.outputs["encoder"][0],
        thumbnails,
        progress=lambda done, total: progress("find scenes", done, total),
    )


def check_finite(classifier: Classifier, *outputs: NDArray[np.float32]) -> None:
    """Raise ``ModelError`` for a model that gives what is no number: no mean, angle or verdict could be trusted."""
    for output in outputs:
        if not np.isfinite(output).all():
            bad = int((~np.isfinite(output).all(axis=1)).sum())
            raise ModelError(
                f"expected finite features and logits of {classifier.name}, those of {bad} images are not",
                hint="Check the preprocessing (--preprocess) and the weights.",
            )


def unchanged(source: ImageSource, images: Pass) -> UnchangedSource:
    """For whatever reads the images again, thumbnails, pictures and the certificate: what was seen, or nothing."""
    return UnchangedSource(source, dict(zip(images.indices.tolist(), images.sha256, strict=True)))
