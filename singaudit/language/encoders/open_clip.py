"""Models of the open_clip library: ``open_clip:NAME/PRETRAINED`` and ``open_clip:hf-hub:ORG/NAME``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.files.folder import Held, check_numbers, check_safetensors, inner_file, read_json
from singaudit.disk import PrivateFolder
from singaudit.errors import LanguageError, MachineError, ModelError, SingauditError, short
from singaudit.language.encoders.checks import PROBES, check_description
from singaudit.language.encoders.running.chosen import choose, loaded_in
from singaudit.language.encoders.running.exports import Exports
from singaudit.language.encoders.running.towers import TorchTowers, Towers, embed_texts, unit
from singaudit.language.encoders.taken import TakenFolder, taken
from singaudit.language.encoders.text_towers import KNOWN_TEXT_TOWERS, is_known, with_text_tower
from singaudit.machine import memory_ran_out, on_device
from singaudit.torchvision_import import import_torchvision
from singaudit.without_compiler import without_compiler

PREFIX = "open_clip:"
HUB = "hf-hub:"
CONFIG = "open_clip_config.json"
WEIGHTS = (
    "open_clip_model.safetensors",
    "model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
)
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "tokenizer.model",
    "vocab.txt",
)


@dataclass(frozen=True)
class OpenClipEncoder:
    """An opened open_clip model; implements ``Encoder``."""

    name: str
    """As the user named it."""
    revision: str
    """Commit on the hub, or sha256 of the local weights."""
    family: str
    """open_clip."""
    embedding_dim: int
    """d: width of both towers' outputs."""
    _towers: Towers
    _tokenizer: Any
    _transform: Any
    digests: Mapping[str, str] = field(default_factory=dict)
    """sha256 (hex) of the files it was opened from, by name."""

    @property
    def runtime(self) -> str:
        """What runs the towers and, where that is not the fast way, why; in words."""
        return self._towers.runtime

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One image (h, w, 3) uint8 -> (3, H, W) float32, by the model's own transform."""
        return _prepared(self._transform, pixels)

    def encode_images(self, inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        """Prepared images (n, 3, H, W) -> embeddings (n, d), float32, unit length."""
        return unit(self._towers.images(inputs))

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Texts -> embeddings (k, d), float64, unit length. Texts beyond the context length are cut."""
        found = np.empty((len(texts), self.embedding_dim))
        for rows, embeddings in self.text_batches(texts):
            found[rows] = embeddings
        return found

    def text_batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """As ``encode_texts``, but (positions, embeddings) as they are done, in bounded steps."""
        return embed_texts(self._tokenizer(list(texts)).tolist(), self._towers)


def _prepared(transform: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    from PIL import Image

    return np.asarray(transform(Image.fromarray(pixels)), dtype=np.float32)


def _torch_towers(name: str, model: Any, device: str) -> TorchTowers:
    """The towers of a model of this library."""
    import torch

    class Images(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = model.visual

        def forward(self, rows: Any) -> Any:
            return model.encode_image(rows.to(next(model.visual.parameters()).dtype))

    text_weights = [p for key, p in model.named_parameters() if not key.startswith("visual.")]

    class Texts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.ParameterList(text_weights)

        def forward(self, rows: Any) -> Any:
            return model.encode_text(rows)

    def lean() -> Any:
        from singaudit.language.encoders.running.lean import of_open_clip

        return of_open_clip(model)

    return TorchTowers(name, model, Images().eval(), Texts().eval(), device, lean)


def repository_of(name: str) -> str:
    """The hub's repository (ORG/NAME[@REVISION]) of an ``open_clip:`` name. Raises ``LanguageError``."""
    open_clip = library()
    wanted = name.removeprefix(PREFIX)
    if wanted.startswith(HUB):
        return wanted.removeprefix(HUB)
    model, _, tag = wanted.rpartition("/")
    tags = open_clip.list_pretrained_tags_by_model(model) if model else []
    if not tags or tag not in tags:
        raise LanguageError(
            f"expected open_clip:NAME/PRETRAINED, open_clip:NAME/FILE or open_clip:hf-hub:ORG/NAME, got {name[:120]!r}"
            + (f"; {model} has {', '.join(tags)[:300]}" if tags else ""),
            hint="For example open_clip:EVA02-L-14-336/merged2b_s6b_b61k; python -c 'import open_clip; "
            "print(open_clip.list_pretrained())' lists them all.",
        )
    stated = str(open_clip.get_pretrained_cfg(model, tag).get("hf_hub", ""))
    repository = stated.strip("/")
    if repository.count("/") != 1:
        raise LanguageError(
            f"{name} is published on no hub, as a file alone",
            hint=f"Fetch that file and pass open_clip:{model}/FILE, or the same weights as open_clip:hf-hub:ORG/NAME.",
        )
    return repository


def needed_files(files: Sequence[str]) -> list[str]:
    """Those of a repository's files that opening needs. Raises ``LanguageError`` for what it lacks."""
    if CONFIG not in files:
        raise LanguageError(
            f"expected an open_clip model, {CONFIG} is missing",
            hint="A CLIP or SigLIP model in the transformers format is --vlm ORG/NAME, without open_clip:.",
        )
    weights = next((name for name in WEIGHTS if name in files), None)
    if weights is None:
        raise LanguageError(
            f"expected weights as {WEIGHTS[0]}, found none",
            hint="Name a repository or revision that has them.",
        )
    return [CONFIG, *(name for name in _TOKENIZER if name in files), weights]


def listed_weights(folder: Path, held: Sequence[str]) -> list[str]:
    """None: weights in several files are of transformers' format."""
    return []


def open_folder(
    name: str,
    folder: Path | PrivateFolder,
    revision: str | None,
    device: str,
    precision: str = "fp32",
    exports: Exports | None = None,
) -> OpenClipEncoder:
    """Open an open_clip model from a folder with its configuration, safetensors and tokenizer.

    ``revision`` None for a digest of the weights. Nothing is downloaded on its configuration's word and no pickle is
    read. With ``exports`` the towers run through ONNX Runtime where that computes the same. Raises ``LanguageError``.
    """
    open_clip = library()
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)  # it warns of random weights that are loaded a line later
    try:
        with taken(folder) as copy:
            weights, held = _checked(name, copy)
            model, tokenizer, transform, width = _load(open_clip, name, copy.folder, weights, held, device, precision)
            digests = copy.digests
        towers: Towers | None = exports.kept() if exports is not None else None
        if towers is None:
            towers = choose(
                _torch_towers(name, model, device),
                exports,
                partial(_prepared, transform),
                lambda: tokenizer(list(PROBES)).tolist(),
                precision,
            )
    except SingauditError:
        raise
    except Exception as error:  # open_clip and what it stands on raise many kinds
        if memory_ran_out(error):
            raise MachineError(
                f"there is too little memory to open the language model {name!r}: {short(error)}",
                hint="Allow more memory (ulimit -v, the job's or the container's limit).",
            ) from error
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise LanguageError(
            f"expected an open_clip model at {name!r}, but it could not be loaded: {reason}",
            hint="Use the complete checkpoint: nothing is filled with random weights.",
        ) from error
    finally:
        logging.disable(disabled)
    revision = revision or digests[weights.name]
    return OpenClipEncoder(name, revision, "open_clip", width, towers, tokenizer, transform, digests)


def _load(
    open_clip: Any, name: str, folder: Path, weights: Path, held: Held, device: str, precision: str
) -> tuple[Any, Any, Any, int]:
    """(model, tokenizer, transform, embedding width)."""
    import torch
    from open_clip.transform import PreprocessCfg, image_transform_v2

    home = with_text_tower(folder, read_json(folder / CONFIG))
    where = f"local-dir:{home.path if home else folder}"
    empty = {"load_weights": False, "pretrained_image": False, "pretrained_text": False}
    check_description(name, [held], lambda: open_clip.create_model(where, device="meta", **empty))
    model = open_clip.create_model(where, **empty)
    open_clip.load_checkpoint(model, str(weights), strict=True)
    model = model.to(loaded_in(precision, device))
    model = on_device(model, device).eval().requires_grad_(False)
    tokenizer = open_clip.get_tokenizer(where)
    transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    with torch.inference_mode():
        width = int(model.encode_text(tokenizer(["an image"]).to(device)).shape[-1])
    return model, tokenizer, transform, width


def _checked(name: str, copy: TakenFolder) -> tuple[Path, Held]:
    """The copy of the weights and what it holds, after the configuration was seen to lead nowhere else."""
    files = needed_files(sorted(path.name for path in copy.source.iterdir()))
    try:
        check_safetensors(inner_file(copy.source, files[-1]))
        weights = copy.take(files)[-1]
        document = read_json(copy.folder / CONFIG)
        held = check_safetensors(weights)
        check_numbers(document.get("model_cfg"), CONFIG, held.tensors)
    except ModelError as error:
        raise LanguageError(f"{name} cannot be opened: {error.message}", hint=error.hint) from error
    config = document.get("model_cfg")
    parts = [config.get(key) for key in ("text_cfg", "vision_cfg")] if isinstance(config, dict) else [None]
    if not all(isinstance(part, dict) for part in parts):
        raise LanguageError(f"{CONFIG} of {name} states no model_cfg", hint="Download it again.")
    # A text tower of transformers is built from a configuration that the name in it would be fetched for.
    led_away = [
        str(p["hf_model_name"]) for p in parts if p and p.get("hf_model_name") and not is_known(p["hf_model_name"])
    ]
    led_away += [str(p["timm_model_name"]) for p in parts if p and ":" in str(p.get("timm_model_name", ""))]
    if led_away:
        raise LanguageError(
            f"{name} builds on another repository, {led_away[0][:80]!r}, which is not fetched on a file's word",
            hint="Choose a model whose towers are open_clip's or timm's own, or a text tower as published under one of "
            f"the names that are known: {', '.join(sorted({n.rpartition('/')[2] for n in KNOWN_TEXT_TOWERS}))}.",
        )
    return weights, held


def library() -> Any:
    """The open_clip library. Raises ``LanguageError`` where it is not installed."""
    import_torchvision()
    try:
        with without_compiler():
            import open_clip
    except ImportError as error:
        raise LanguageError(
            "expected the open_clip library for an open_clip: model; it is not installed",
            hint="Run pip install 'singaudit[open-clip]'",
        ) from error
    return open_clip
