"""The translators published with the paper: a folder with metadata.yaml and the state dict of one linear layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from singaudit.errors import LanguageError
from singaudit.language.translators.file import StoredTranslator, TranslatorFacts
from singaudit.language.translators.fit import Translator

ENCODERS = {"kakao_karlo_v1_alpha_image_variations": "openai/clip-vit-large-patch14"}
"""Image encoders by the names the paper's metadata uses: Karlo's image variations take CLIP ViT-L/14's image space."""
_IMAGES = 10_000
"""That the paper fitted its translators on (section 4)."""
_MAX_YAML = 2**16
_MAX_WEIGHTS = 2 * 2**30


def import_published(folder: Path) -> StoredTranslator:
    """Read a published translator's folder; nothing is unpickled but tensors. Raises ``LanguageError``.

    Folders state the model and the encoder by name, no hashes; the mean feature and halves are not there.
    """
    facts = _metadata(folder)
    checkpoint = str(facts.get("checkpoint_file", "best.pt"))
    path = folder / checkpoint
    if Path(checkpoint).name != checkpoint or not path.is_file():
        raise LanguageError(f"expected the checkpoint {checkpoint!r} that metadata.yaml names in {folder}")
    if facts.get("architecture") != "linear":
        raise LanguageError(
            f"expected a linear translator in {folder}, found the architecture {str(facts.get('architecture'))[:80]!r}",
            hint="Null space and translator must be linear for equivalents to be readable; take the linear one.",
        )
    weight, bias = _state(path)
    if weight.shape != (facts.get("out_dim"), facts.get("in_dim")) or bias.shape != weight.shape[:1]:
        raise LanguageError(
            f"expected a weight of {facts.get('out_dim')} x {facts.get('in_dim')} in {path}, found {weight.shape}"
        )
    m = weight.shape[1]
    backend = str(facts.get("embedding_backend", ""))
    return StoredTranslator(
        TranslatorFacts(
            origin="imported", model_name=str(facts.get("model_name", "unknown")), model_sha256=None,
            encoder_name=ENCODERS.get(backend, backend or "unknown"), encoder_revision=None, feature_dim=m,
            embedding_dim=len(bias), images=_IMAGES, images_digest=None, penalty=None, r2=None, cosine=None,
            cosine_shuffled=None,
        ),
        Translator(weight.T.copy(), bias, np.full(m, np.nan), 0.0, _IMAGES), None, None, None, frozenset(),
    )  # fmt: skip


def _metadata(folder: Path) -> dict[str, Any]:
    import yaml

    path = folder / "metadata.yaml"
    if not path.is_file():
        raise LanguageError(f"expected a folder with metadata.yaml and a checkpoint, {path} is missing")
    if path.stat().st_size > _MAX_YAML:
        raise LanguageError(f"expected at most {_MAX_YAML} bytes in {path}, it is larger")
    try:
        text = path.read_text(encoding="utf-8")
        # Aliases could make a small file large; a flat table has none.
        facts = None if "&" in text else yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise LanguageError(f"expected YAML in {path}: {str(error).splitlines()[0][:200]}") from error
    if not isinstance(facts, dict):
        raise LanguageError(f"expected a table of facts in {path}")
    return facts


def _state(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(weight (d, m), bias (d,)) of the one linear layer, float64."""
    import torch

    if path.stat().st_size > _MAX_WEIGHTS:
        raise LanguageError(f"expected a checkpoint of at most {_MAX_WEIGHTS >> 30} GB, {path} is larger")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not what it should be
        raise LanguageError(
            f"expected tensors saved with torch.save in {path}: {str(error).splitlines()[0][:200]}",
            hint="A checkpoint that holds anything but tensors is never loaded.",
        ) from error
    found = {}
    for kind in ("weight", "bias"):
        names = [n for n in state if str(n).rsplit(".", 1)[-1] == kind] if isinstance(state, dict) else []
        if len(names) != 1 or not isinstance(state[names[0]], torch.Tensor):
            raise LanguageError(f"expected the state dict of one linear layer in {path}: no single {kind}")
        found[kind] = state[names[0]].double().numpy()
    if found["weight"].ndim != 2 or not all(np.isfinite(a).all() for a in found.values()):
        raise LanguageError(f"expected a finite weight of two dimensions in {path}")
    return found["weight"], found["bias"]
