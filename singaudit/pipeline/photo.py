"""One photograph: what the head ignores of it, beside its neighbours."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from singaudit.cache.store import Cache, cache_folder
from singaudit.classifier.class_names import class_names
from singaudit.classifier.fingerprint import forward_identity
from singaudit.classifier.graph.session import providers
from singaudit.classifier.interface import Classifier
from singaudit.classifier.openers.table import open_classifier
from singaudit.classifier.options import model_options
from singaudit.config import AuditConfig
from singaudit.dataset.interface import Image, ImageSource
from singaudit.dataset.sources.table import open_source
from singaudit.engine.interface import Pass
from singaudit.errors import ConfigError, DatasetError
from singaudit.geometry.null_space import NullSpace, null_space
from singaudit.language.class_prompts import worded_classes
from singaudit.language.concepts import Group, embed_group, open_vocabulary
from singaudit.language.translators.file import StoredTranslator, read_translator, to_bytes
from singaudit.metrics.fidelity import fit_for_keeping
from singaudit.metrics.subject import unit_keys
from singaudit.pictures.one_photo import photo_world
from singaudit.pipeline.certificate import certified
from singaudit.pipeline.observe import Observer, Progress, check_finite, unchanged, units_of
from singaudit.pipeline.pictures import make_photo_pictures
from singaudit.report.build.image import Described, image_result
from singaudit.report.build.thumbnails import thumbnail
from singaudit.report.formats.folder import pictures_of
from singaudit.report.result.image import ImageResult

PAGE = "image.html"


@dataclass(frozen=True)
class _Opened:
    """What is opened once for any number of images of one model."""

    config: AuditConfig
    classifier: Classifier
    names: tuple[str, ...]
    space: NullSpace
    observer: Observer
    reference: tuple[ImageSource, Pass] | None
    stored: StoredTranslator


def check_photo_settings(config: AuditConfig) -> None:
    """Raise ``ConfigError`` where images are missing that the command cannot do without."""
    if config.images is None and config.translator is None:
        raise ConfigError(
            "expected images to fit the translator on, or a translator",
            hint="Add --images DIR (its images are searched for neighbours as well) or --translator FILE.",
        )
    if config.images is None and config.toward is not None:
        raise ConfigError(
            "expected images to start equivalents from: --toward leads real images to the photo's logits",
            hint="Add --images DIR beside --translator, with images of which some show what --toward names.",
        )


def describe_photo(config: AuditConfig, photo: ImageSource, progress: Progress) -> tuple[ImageResult, dict[str, bytes]]:
    """What the head ignores of one photograph, and generated PNG files by their path below the output folder."""
    return _describe(_open(config, progress), photo, progress)


def _open(config: AuditConfig, progress: Progress) -> _Opened:
    """Open the models and fit the translator, or take it from its file or from the cache."""
    progress("open the model", 0, 1)
    classifier = open_classifier(config.model, model_options(config), progress)
    names = class_names(config, classifier)[0]
    space = null_space(classifier.head)
    progress("open the model", 1, 1)
    observer = Observer(config, classifier, progress)
    stored = read_translator(Path(config.translator)) if config.translator is not None else None
    if stored is not None:
        stored.check_model(classifier.name, classifier.sha256, space.feature_dim)
        stored.check_encoder(observer.encoder)
    reference = None
    if config.images is not None:
        source = open_source(config.images, config.label_column)
        images = observer.observe("look at the images", source)
        reference = unchanged(source, images), images
        check_finite(classifier, *reference[1].outputs["classifier"])
    if stored is None:
        assert reference is not None
        stored = _fitted(config, classifier, space, observer, reference[1], progress)
    return _Opened(config, classifier, names, space, observer, reference, stored)


def _fitted(
    config: AuditConfig, classifier: Classifier, space: NullSpace, observer: Observer, images: Pass, progress: Progress
) -> StoredTranslator:
    """The translator of these images, from the cache where the same was fitted before."""
    cache, digest = Cache(cache_folder(config.cache)), images.digest()
    shelf = None
    if cache.folder is not None:
        identity = forward_identity(classifier, providers(config.device)[0])
        meaning = {
            "encoder": observer.encoder.revision,
            "precision": config.precision,
            "images": digest,
            "seed": config.seed,
            "units": config.units,
        }
        shelf = cache.shelf("translators", {**identity, **meaning})
        if digest in shelf:
            return _from_bytes(shelf.take([digest])[0][0].tobytes())
    progress("fit the translator", 0, 1)
    stored = fit_for_keeping(
        images.outputs["classifier"][0],
        images.outputs["encoder"][0],
        images.sha256,
        space,
        (classifier.name, classifier.sha256),
        (observer.encoder.name, observer.encoder.revision),
        config.seed,
        config.precision,
        unit_keys(images.sha256, units_of(config, images, None, progress).of),
    )
    data = to_bytes(stored)
    if shelf is not None:
        # A shelf keeps any row of numbers as it is; header and arrays are whole numbers of four bytes.
        shelf.add([digest], (np.frombuffer(data, np.float32)[None],))
        shelf.flush()
    progress("fit the translator", 1, 1)
    # As the cache gives it the next time, rounded to the file's precision.
    return _from_bytes(data)


def _from_bytes(data: bytes) -> StoredTranslator:
    """A translator from a file's content, read as carefully as any file."""
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(data)
        file.flush()
        return read_translator(Path(file.name))


def _describe(opened: _Opened, photo: ImageSource, progress: Progress) -> tuple[ImageResult, dict[str, bytes]]:
    """What is found, and PNG files by their path below the output folder."""
    seen = opened.observer.observe("look at the image", photo)
    photo = unchanged(photo, seen)
    check_finite(opened.classifier, *seen.outputs["classifier"])
    features, logits = (a[0] for a in seen.outputs["classifier"])
    progress("measure", 0, 1)
    encoder = opened.observer.encoder
    vocabulary = open_vocabulary(opened.config.concepts, opened.config.vlm)
    classes = worded_classes(opened.names, opened.config.class_prompts)
    groups: tuple[Group, ...] = (classes,) if len(opened.names) > 1 else ()
    groups += vocabulary.groups
    if vocabulary.concepts:
        groups += (Group("", vocabulary.concepts, "{}"),)
    texts = [embed_group(encoder, group) for group in groups]
    class_texts = texts[0] if len(opened.names) > 1 else embed_group(encoder, classes)
    pictures = _Pictures(opened.reference)
    image = photo.load(0)
    if not isinstance(image, Image):
        raise DatasetError(f"{image.name} {image.reason}", hint="Leave the file as it is until the command ends.")
    result = image_result(
        Described(
            seen.names[0], seen.sha256[0], thumbnail(image.pixels), features, logits, seen.outputs["encoder"][0][0],
            groups, texts, class_texts,
        ),
        opened.classifier, opened.names, opened.space, opened.stored, encoder,
        opened.reference[1] if opened.reference else None, pictures, opened.config.seed, opened.config.precision,
    )  # fmt: skip
    progress("measure", 1, 1)
    files: dict[str, bytes] = {}
    if opened.config.toward is not None:
        result, files = _with_pictures(opened, result, (photo, seen), groups, texts, progress)
    opened.observer.close()
    return result, files


def _with_pictures(
    opened: _Opened,
    result: ImageResult,
    photo: tuple[ImageSource, Pass],
    groups: tuple[Group, ...],
    texts: list[NDArray[np.float64]],
    progress: Progress,
) -> tuple[ImageResult, dict[str, bytes]]:
    """The result with neighbours, natural pairs and equivalents of the photo, and the equivalents' files."""
    assert opened.reference is not None
    certificate = certified(
        opened.config, opened.classifier, progress, (opened.reference[0], opened.reference[1].indices)
    )
    world = photo_world(
        opened.classifier,
        opened.observer.encoder,
        opened.space,
        photo,
        opened.reference,
        opened.stored.translator,
        opened.config.seed,
    )
    found = make_photo_pictures(
        opened.config, world, groups, texts, opened.names, certificate, progress, pictures_of(PAGE)
    )
    made = {
        "certificate": certificate,
        "pictures": found.pictures,
        "generation": found.generation,
        "pair_search": found.search,
    }
    return result.model_copy(update=made), found.files


class _Pictures:
    """Small pictures of reference images, by position."""

    def __init__(self, reference: tuple[ImageSource, Pass] | None) -> None:
        self._reference = reference

    def __call__(self, row: int) -> str:
        if self._reference is None:
            return ""
        source, images = self._reference
        image = source.load(int(images.indices[row]))
        return thumbnail(image.pixels) if isinstance(image, Image) else ""
