"""A translator as a file: safetensors with its fidelity, and which model and encoder it belongs to.

Nothing in the file is executed. Its facts stand as JSON in the header, its arrays are checked against them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from singaudit.errors import LanguageError
from singaudit.language.interface import Encoder
from singaudit.language.translators.fit import Translator

Array = NDArray[np.float64]

KEY = "singaudit.translator"
_MAX_BYTES = 8 * 2**30
_MAX_HEADER = 2**20
_MAKE = "Make one with singaudit translator fit or import."


class Measure(BaseModel):
    """A statistic over images with its 95 % interval."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    value: float
    low: float
    high: float
    n: int


class TranslatorFacts(BaseModel):
    """What a translator file says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal["1"] = "1"
    origin: Literal["fit", "imported"] = Field(description="Fitted by singaudit, or taken from a published folder.")
    model_name: str = Field(max_length=1000)
    model_sha256: str | None = Field(description="None: the published folder does not say.")
    encoder_name: str = Field(max_length=1000)
    encoder_revision: str | None = Field(description="None: the published folder does not say.")
    encoder_precision: Literal["fp32", "bf16"] = "fp32"
    feature_dim: int = Field(ge=1)
    embedding_dim: int = Field(ge=1)
    images: int = Field(ge=0, description="Images it was fitted on; those of one scene count once.")
    images_digest: str | None = Field(description="sha256 over the sorted sha256 of the images.")
    penalty: float | None
    r2: Measure | None = Field(description="Held out, cross-fitted; None: not measured.")
    cosine: Measure | None
    cosine_shuffled: Measure | None = Field(description="Of pairs that do not belong together.")


@dataclass(frozen=True)
class StoredTranslator:
    """A translator with what is needed to trust it."""

    facts: TranslatorFacts
    """What it says of itself."""
    translator: Translator
    """T itself; its mean is NaN where it is not known."""
    halves: tuple[Translator, Translator] | None
    """Refitted on either half of its images."""
    leverage: Array | None
    """(m, m) A F'F A with A = (F'F + lambda I)^-1: x' leverage x times the residual variance is that of T x."""
    residual: Array | None
    """(d, d) covariance of held-out residuals z - T f."""
    sha256: frozenset[str]
    """Content hashes of the images it was fitted on; empty where they are not known."""

    def check_model(self, name: str, sha256: str, feature_dim: int) -> None:
        """Raise ``LanguageError`` when it was fitted for another model."""
        facts = self.facts
        if facts.feature_dim != feature_dim:
            raise LanguageError(
                f"expected a translator from {feature_dim} features of {name}, this one takes {facts.feature_dim} of "
                f"{facts.model_name}",
                hint="Fit one for this model: singaudit translator fit MODEL --images DIR -o FILE.",
            )
        if facts.model_sha256 is not None and facts.model_sha256 != sha256:
            raise LanguageError(
                f"expected a translator of {name} (sha256 {sha256[:12]}), this one belongs to {facts.model_name} "
                f"(sha256 {facts.model_sha256[:12]})",
                hint="Features of another model, or of another state of its training, mean something else. Fit one "
                "for this model: singaudit translator fit MODEL --images DIR -o FILE.",
            )

    def check_encoder(self, encoder: Encoder) -> None:
        """Raise ``LanguageError`` when it was fitted for another vision-language model."""
        facts = self.facts
        if facts.embedding_dim != encoder.embedding_dim or facts.encoder_revision not in (None, encoder.revision):
            raise LanguageError(
                f"expected a translator into the image space of {encoder.name} ({encoder.embedding_dim} wide, revision "
                f"{encoder.revision[:12]}), this one leads into that of {facts.encoder_name} ({facts.embedding_dim} "
                f"wide, revision {str(facts.encoder_revision)[:12]})",
                hint=f"Pass --vlm {facts.encoder_name}, or fit a translator for this one.",
            )

    def doubts(self, precision: str) -> list[str]:
        """What a report must say: of a translator without hashes, and of one fitted to another ``precision``."""
        facts = self.facts
        found = []
        if facts.encoder_precision != precision:
            found.append(
                f"the translator was fitted to embeddings computed in {facts.encoder_precision}; these are in "
                f"{precision}"
            )
        if facts.model_sha256 is not None and facts.encoder_revision is not None:
            return found
        found.append(
            f"the translator was published for the model {facts.model_name!r} and the encoder "
            f"{facts.encoder_name!r}, without hashes: that these are the ones audited here is not proven"
        )
        return found


def to_bytes(stored: StoredTranslator) -> bytes:
    """The file's content, float32 arrays."""
    from safetensors.numpy import save

    t = stored.translator
    arrays: dict[str, NDArray[Any]] = {"weight": t.weight, "intercept": t.intercept, "mean": t.mean}
    for i, half in enumerate(stored.halves or ()):
        arrays |= {f"half{i}.weight": half.weight, f"half{i}.intercept": half.intercept}
    if stored.leverage is not None and stored.residual is not None:
        arrays |= {"leverage": stored.leverage, "residual": stored.residual}
    tensors: dict[str, NDArray[Any]] = {k: np.ascontiguousarray(v, np.float32) for k, v in arrays.items()}
    hashes = sorted(stored.sha256)
    tensors["images"] = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), 32)
    return bytes(save(tensors, metadata={KEY: stored.facts.model_dump_json()}))


def read_translator(path: Path) -> StoredTranslator:
    """Read and check a translator file. Raises ``LanguageError`` for anything that is not one."""
    facts, arrays = _read(path)
    m, d = facts.feature_dim, facts.embedding_dim
    shapes = {
        "weight": (m, d), "intercept": (d,), "mean": (m,), "half0.weight": (m, d), "half1.weight": (m, d),
        "half0.intercept": (d,), "half1.intercept": (d,), "leverage": (m, m), "residual": (d, d),
    }  # fmt: skip
    for name, array in arrays.items():
        if name == "images":
            good = array.ndim == 2 and array.shape[1] == 32 and array.dtype == np.uint8
        else:
            good = array.shape == shapes.get(name) and array.dtype == np.float32
            good = good and (name == "mean" or bool(np.isfinite(array).all()))
        if not good:
            raise LanguageError(
                f"expected finite arrays that fit {m} features and {d} numbers in {path}: {name} does not",
                hint=_MAKE,
            )
    if not {"weight", "intercept", "mean", "images"} <= set(arrays):
        raise LanguageError(f"expected weight, intercept, mean and images in {path}, some are missing", hint=_MAKE)
    wide = {k: v.astype(np.float64) for k, v in arrays.items() if k != "images"}
    penalty = facts.penalty or 0.0

    def made(prefix: str, images: int) -> Translator:
        return Translator(wide[f"{prefix}weight"], wide[f"{prefix}intercept"], wide["mean"], penalty, images)

    halves = (
        (made("half0.", facts.images // 2), made("half1.", facts.images // 2))
        if {"half0.weight", "half0.intercept", "half1.weight", "half1.intercept"} <= set(wide)
        else None
    )
    hashes = frozenset(row.tobytes().hex() for row in arrays["images"])
    return StoredTranslator(facts, made("", facts.images), halves, wide.get("leverage"), wide.get("residual"), hashes)


def _read(path: Path) -> tuple[TranslatorFacts, dict[str, NDArray[Any]]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise LanguageError(f"expected a translator file, there is no file {path}", hint=_MAKE)
    if path.stat().st_size > _MAX_BYTES:
        raise LanguageError(
            f"expected a translator file of at most {_MAX_BYTES >> 30} GB, {path} is larger", hint=_MAKE
        )
    try:
        with safe_open(str(path), framework="numpy") as file:
            header = (file.metadata() or {}).get(KEY, "")
            facts = TranslatorFacts.model_validate(json.loads(header)) if 0 < len(header) < _MAX_HEADER else None
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, ValidationError, RecursionError) as error:
        raise LanguageError(
            f"expected a translator of singaudit in {path}: {str(error).splitlines()[0][:200]}",
            hint=_MAKE,
        ) from error
    if facts is None:
        raise LanguageError(
            f"expected a translator of singaudit, {path} does not say that it is one",
            hint=_MAKE,
        )
    return facts, arrays
