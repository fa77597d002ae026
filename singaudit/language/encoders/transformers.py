"""Checkpoints of transformers' own two-tower classes, opened by transformers from a folder and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.files.folder import Held, check_numbers, check_safetensors, inner_file, read_json, shard_names
from singaudit.disk import PrivateFolder
from singaudit.errors import LanguageError, MachineError, ModelError, SingauditError, short
from singaudit.language.encoders.checks import PROBES, check_description, check_processor, check_tokenizer
from singaudit.language.encoders.running.chosen import choose, loaded_in
from singaudit.language.encoders.running.exports import Exports
from singaudit.language.encoders.running.towers import TorchTowers, Towers, embed_texts, unit
from singaudit.language.encoders.taken import TakenFolder, taken, weights_digest
from singaudit.machine import memory_ran_out, on_device
from singaudit.torchvision_import import import_transformers
from singaudit.without_compiler import nothing_drawn

# SigLIP was trained with padding and without attention mask; CLIP's causal tower does not look past a text's end.
# Towers that look both ways are asked for texts of one length at a time, so that none is padded.
_PADDING: dict[str, str | bool] = {
    "clip": False,
    "siglip": "max_length",
    "siglip2": "max_length",
    "chinese_clip": False,
    "altclip": False,
    "metaclip_2": False,
    "align": False,
    "vision-text-dual-encoder": False,
}
_LOOK_BACK = frozenset({"clip", "metaclip_2"})
"""Whose text towers look back alone, and whose images are read from one token."""
FAMILIES = frozenset(_PADDING)
"""Kinds of models that are read, as config.json calls them."""
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_CONFIG = "config.json"
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Either holds the image processor: the second since transformers 5, which saves processors as a whole."""
_TOKENIZER = ("tokenizer.json", "vocab.json", "spiece.model", "vocab.txt", "tokenizer.model")
_BESIDE = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
)


@dataclass(frozen=True)
class TransformersEncoder:
    """An opened checkpoint of one of ``FAMILIES``; implements ``Encoder``."""

    name: str
    """As the user named it."""
    revision: str
    """Commit on the hub, or sha256 of the local weights."""
    family: str
    """One of ``FAMILIES``; siglip2 where the images keep their shape (NaFlex), SigLIP2 of a fixed size is siglip."""
    embedding_dim: int
    """d: width of both towers' outputs."""
    _towers: Towers
    _tokenizer: Any
    _processor: Any
    _context_length: int
    digests: Mapping[str, str] = field(default_factory=dict)
    """sha256 (hex) of the files it was opened from, by name."""

    @property
    def runtime(self) -> str:
        """What runs the towers and, where that is not the fast way, why; in words."""
        return self._towers.runtime

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One image (h, w, 3) uint8 -> (3, H, W) float32, by the model's own image processor.

        NaFlex: (patches + 1, values of a patch), with how many patches there are down and across in the last row.
        """
        return _prepared(self._processor, self.family, pixels)

    def encode_images(self, inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        """Prepared images (n, ...) -> embeddings (n, d), float32, unit length."""
        return unit(self._towers.images(inputs))

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Texts -> embeddings (k, d), float64, unit length. Texts beyond the context length are cut."""
        found = np.empty((len(texts), self.embedding_dim))
        for rows, embeddings in self.text_batches(texts):
            found[rows] = embeddings
        return found

    def text_batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """As ``encode_texts``, but (positions, embeddings) as they are done, in bounded steps."""
        return embed_texts(_tokens(self._tokenizer, self.family, self._context_length, texts), self._towers)


def _tokens(tokenizer: Any, family: str, length: int, texts: Sequence[str]) -> list[list[int]]:
    said = [text.lower() for text in texts] if family.startswith("siglip") else list(texts)
    found: list[list[int]] = tokenizer(said, padding=_PADDING[family], truncation=True, max_length=length)["input_ids"]
    return found


def _prepared(processor: Any, family: str, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    from PIL import Image

    made = processor(images=[Image.fromarray(pixels)], return_tensors="np")
    values = np.asarray(made["pixel_values"][0], dtype=np.float32)
    return with_grid(values, made["spatial_shapes"][0]) if family == "siglip2" else values


def with_grid(patches: NDArray[np.float32], grid: NDArray[np.integer]) -> NDArray[np.float32]:
    """Patches (k, v) of an image and a last row that begins with how many there are down and across."""
    last = np.zeros((1, patches.shape[1]), np.float32)
    last[0, :2] = grid
    return np.concatenate([patches, last])


def _torch_towers(name: str, family: str, model: Any, device: str) -> TorchTowers:
    """The towers of a model of this library."""
    import torch

    def tensor(output: Any) -> Any:
        return output if isinstance(output, torch.Tensor) else output.pooler_output

    class Images(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vision_model = model.vision_model
            self.projection = getattr(model, "visual_projection", None)

        def forward(self, rows: Any) -> Any:
            if family != "siglip2":
                return tensor(model.get_image_features(pixel_values=rows.to(model.dtype)))
            pixels, grid = rows[:, :-1].to(model.dtype), rows[:, -1, :2].long()
            used = torch.arange(pixels.shape[1], device=rows.device)[None, :] < grid.prod(dim=1)[:, None]
            return tensor(
                model.get_image_features(pixel_values=pixels, pixel_attention_mask=used.int(), spatial_shapes=grid)
            )

    class Texts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.text_model = model.text_model
            self.projection = getattr(model, "text_projection", None)

        def forward(self, rows: Any) -> Any:
            return tensor(model.get_text_features(input_ids=rows))

    def lean() -> Any:
        from singaudit.language.encoders.running.lean import of_transformers

        return of_transformers(model) if family in _LOOK_BACK else None

    return TorchTowers(name, model, Images().eval(), Texts().eval(), device, lean)


def repository_of(name: str) -> str:
    """The hub's repository of a name, which is its own."""
    return name


def needed_files(files: Sequence[str]) -> list[str]:
    """Those of a repository's files that opening needs, of sharded weights the index. Raises ``LanguageError``."""
    missing = [] if _CONFIG in files else [_CONFIG]
    missing += [] if any(name in files for name in _PROCESSORS) else [_PROCESSORS[0]]
    if missing:
        kind = "; it is an open_clip repository: pass --vlm open_clip:hf-hub:ORG/NAME"
        raise LanguageError(
            f"expected a vision-language model in the hub's format, {' and '.join(missing)} missing"
            + (kind if "open_clip_config.json" in files else ""),
            hint="Save it with save_pretrained(), or name another repository, such as openai/clip-vit-large-patch14.",
        )
    if not any(name in files for name in _TOKENIZER):
        raise LanguageError(
            f"expected a tokenizer ({', '.join(_TOKENIZER)}), found none",
            hint="Save the processor with save_pretrained() beside the model.",
        )
    weights = next((name for name in (_WEIGHTS, _INDEX, *_PICKLED) if name in files), None)
    if weights is None:
        raise LanguageError(
            f"expected weights as {_WEIGHTS} or {_PICKLED[0]}, found none",
            hint="Save the model with save_pretrained(), or name a revision that has them: many repositories hold one "
            "under ORG/NAME@refs/pr/N.",
        )
    return [_CONFIG, *(f for f in (*_PROCESSORS, *_TOKENIZER, *_BESIDE) if f in files), weights]


def listed_weights(folder: Path, held: Sequence[str]) -> list[str]:
    """Names of the files that the index lists where a repository of the files ``held`` has sharded weights alone.

    Raises ``LanguageError``.
    """
    index = next((name for name in (_WEIGHTS, _INDEX, *_PICKLED) if name in held), _WEIGHTS)
    if not index.endswith(".json"):
        return []
    try:
        names = shard_names(folder, index)
    except ModelError as error:
        raise LanguageError(f"the vision-language model in {folder}: {error.message}", hint=error.hint) from error
    kind = ".safetensors" if index == _INDEX else ".bin"
    for name in names:
        if not name.endswith(kind):
            raise LanguageError(f"{index} lists {name[:80]!r}; expected {kind} only", hint="Name another repository.")
    return names


def open_folder(
    name: str,
    folder: Path | PrivateFolder,
    revision: str | None,
    device: str,
    precision: str = "fp32",
    exports: Exports | None = None,
) -> TransformersEncoder:
    """Open the checkpoint in a folder; ``name`` as the user named it, ``revision`` None for a digest of the weights.

    With ``exports`` the towers run through ONNX Runtime where that computes the same.

    Weights are safetensors that lie in the folder (or in the hub's cache where the folder is a snapshot), remote code
    is never run, and a checkpoint that lacks part of the weights is refused instead of being filled with random ones.
    Raises ``LanguageError``.
    """
    try:
        with taken(folder) as copy:
            weights, held = _checked(name, copy)
            opened = _load(name, copy, weights, held, device, precision, exports)
            digests = dict(copy.digests)
            if revision is None:
                revision, unopened = weights_digest(copy, weights)
                digests |= unopened
    except SingauditError:
        raise
    except Exception as error:  # transformers raises many kinds for one fact
        if memory_ran_out(error):
            raise MachineError(
                f"there is too little memory to open the language model {name!r}: {short(error)}",
                hint="Allow more memory (ulimit -v, the job's or the container's limit).",
            ) from error
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise LanguageError(
            f"expected a vision-language model at {name!r}, but it could not be loaded: {reason}",
            hint="Download or save it again: config.json, model.safetensors, tokenizer, preprocessor_config.json.",
        ) from error
    return TransformersEncoder(name, revision, *opened, digests=digests)


def _checked(name: str, copy: TakenFolder) -> tuple[list[str], list[Held]]:
    """Names of the files of weights, and what they hold, after each file was seen to be regular, inside and whole.

    All but the weights are copied. The model is of one of ``FAMILIES``.
    """
    folder = copy.source
    files = needed_files(sorted(path.name for path in folder.iterdir()))
    try:
        copy.take([file for file in files if file != _WEIGHTS])
        weights = listed_weights(copy.folder, files) or [_WEIGHTS]
        held = [check_safetensors(inner_file(folder, name)) for name in weights]
        config = read_json(copy.folder / _CONFIG)
        check_numbers(config, _CONFIG, sum(one.tensors for one in held))
    except ModelError as error:
        raise LanguageError(
            f"the vision-language model in {folder} cannot be opened: {error.message}", hint=error.hint
        ) from error
    if (kind := str(config.get("model_type"))) not in _PADDING:
        raise LanguageError(
            f"expected a model of the families {', '.join(_PADDING)} at {name!r}, found {kind[:80]!r}",
            hint="The default is openai/clip-vit-large-patch14.",
        )
    return weights, held


def _load(
    name: str,
    copy: TakenFolder,
    weights: Sequence[str],
    held: Sequence[Held],
    device: str,
    precision: str,
    exports: Exports | None,
) -> tuple[str, int, Towers, Any, Any, int]:
    """(family, embedding width, towers, tokenizer, processor, context length)."""
    folder = copy.folder
    # Advisory chatter has no place in an audit's output.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers = import_transformers()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    config = transformers.AutoConfig.from_pretrained(folder, **options)
    family, length = config.model_type, _context_length(config)
    dim = int(config.vision_config.hidden_size if family.startswith("siglip") else config.projection_dim)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil", **options)
    check_tokenizer(name, tokenizer, config.text_config.vocab_size)
    check_processor(name, processor)
    towers: Towers | None = exports.kept() if exports is not None else None
    if towers is None:
        held = [check_safetensors(path) for path in copy.take(weights)]
        towers = choose(
            _torch_towers(name, family, _model(name, folder, held, config, device, precision, options), device),
            exports,
            partial(_prepared, processor, family),
            partial(_tokens, tokenizer, family, length, PROBES),
            precision,
        )
    return family, dim, towers, tokenizer, processor, length


def _context_length(config: Any) -> int:
    """Tokens of the longest text. Text towers of RoBERTa's kind count positions from behind the padding's."""
    text = config.text_config
    roberta = text.model_type in ("altclip_text_model", "roberta", "xlm-roberta", "camembert")
    return int(text.max_position_embeddings) - (int(text.pad_token_id or 0) + 1 if roberta else 0)


def _model(
    name: str, folder: Path, held: Sequence[Held], config: Any, device: str, precision: str, options: dict[str, Any]
) -> Any:
    """The model with all its weights, on the device."""
    import transformers

    check_description(name, held, lambda: transformers.AutoModel.from_config(config))
    with nothing_drawn():
        model, info = transformers.AutoModel.from_pretrained(
            folder,
            use_safetensors=True,
            dtype=loaded_in(precision, device),
            output_loading_info=True,
            **options,
        )
    if info["missing_keys"] or info["mismatched_keys"]:
        lacking = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
        raise LanguageError(
            f"expected all weights of the {config.model_type} model at {name!r}, {len(lacking)} are missing or of "
            f"another shape, such as {lacking[0]}",
            hint="Use the complete checkpoint: nothing is filled with random weights.",
        )
    return on_device(model, device).eval().requires_grad_(False)
