"""The certificate of an audit's shadow copy: made once for the same model, images and versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from singaudit.cache.store import Cache, cache_folder
from singaudit.classifier.certify import CERTIFIED_IMAGES, certify_on_noise
from singaudit.classifier.fingerprint import forward_identity
from singaudit.classifier.graph.session import providers
from singaudit.classifier.interface import Certificate, Classifier
from singaudit.classifier.preprocessing.resolve import prepare
from singaudit.config import AuditConfig
from singaudit.dataset.interface import Image, ImageLoader
from singaudit.machine import arithmetic, beside, torch_device
from singaudit.pipeline.observe import Progress
from singaudit.report.build.scores import certificate_part
from singaudit.report.result.model import CertificatePart

STAGE = "certify the shadow copy"


def certified(
    config: AuditConfig,
    classifier: Classifier,
    progress: Progress,
    images: tuple[ImageLoader, NDArray[np.intp]] | None = None,
) -> CertificatePart:
    """The shadow copy against ONNX Runtime, on the first of ``images`` (source, positions); on noise without."""
    return waited(lambda: _certificate(config, classifier, images), progress)


def begun(
    config: AuditConfig, classifier: Classifier, images: tuple[ImageLoader, NDArray[np.intp]]
) -> Callable[[], CertificatePart]:
    """As ``certified``, but in the model's own process meanwhile; what is returned waits for it."""
    return beside(lambda: _certificate(config, classifier, images))


def waited(certificate: Callable[[], CertificatePart], progress: Progress) -> CertificatePart:
    """The certificate that was ``begun``, once it is there."""
    progress(STAGE, 0, 1)
    found = certificate()
    progress(STAGE, 1, 1)
    return found


def _certificate(
    config: AuditConfig, classifier: Classifier, images: tuple[ImageLoader, NDArray[np.intp]] | None
) -> CertificatePart:
    device = torch_device(config.device)
    loaded = [images[0].load(int(i)) for i in images[1][:CERTIFIED_IMAGES]] if images is not None else []
    inputs = [prepare(i.pixels, classifier.preprocessing) for i in loaded if isinstance(i, Image)]
    # Where none of them can be read any more, noise has to do.
    made = _of_images(config, classifier, np.stack(inputs), device) if inputs else certify_on_noise(classifier, device)
    return certificate_part(made)


def _of_images(config: AuditConfig, classifier: Classifier, inputs: NDArray[np.generic], device: str) -> Certificate:
    """Kept in the cache by everything that decides it, the prepared images themselves among it."""
    cache = Cache(cache_folder(config.cache))
    name = cache.name_of(
        "certificate",
        {
            **forward_identity(classifier, providers(config.device)[0]),
            "inputs": [str(inputs.dtype), *inputs.shape, hashlib.sha256(inputs.tobytes()).hexdigest()],
            "copy": [device.partition(":")[0], arithmetic(device)],
            "seed": config.seed,
        },
    )
    kept = _sound(cache.recall(name))
    if kept is None:
        kept = classifier.certify(inputs, seed=config.seed, device=device)
        cache.remember(name, asdict(kept))
    return kept


def _sound(facts: Mapping[str, Any] | None) -> Certificate | None:
    """The certificate that was kept; None where there is none, or what is there is none."""
    if facts is None:
        return None
    try:
        return TypeAdapter(Certificate).validate_json(json.dumps(facts), strict=True)
    except ValidationError:
        return None
