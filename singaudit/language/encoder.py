"""A vision-language model's two towers: images and texts into one space (CLIP and SigLIP families)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.errors import LanguageError
from singaudit.torchvision_import import import_torchvision

BUILTIN = "builtin:shapes"
DEFAULT = "openai/clip-vit-large-patch14"
# Families whose towers have get_image_features and get_text_features; SigLIP was trained with padding and without
# attention mask; CLIP's causal tower does not look past a text's end.
_PADDING: dict[str, str | bool] = {"clip": False, "siglip": "max_length", "siglip2": "max_length"}
# Texts per batch, the last one filled up with repetitions.
_TEXTS = 32
# Below this an encoder runs on one thread.
_SMALL_PARAMETERS = 10_000_000


@dataclass(frozen=True)
class HubEncoder:
    """An opened checkpoint of the CLIP or SigLIP families; implements ``Encoder``."""

    name: str
    """As the user named it."""
    revision: str
    """Commit on the hub, or sha256 of the local weights."""
    family: str
    """clip, siglip or siglip2."""
    embedding_dim: int
    """d: width of both towers' outputs."""
    _model: Any
    _tokenizer: Any
    _processor: Any
    _device: str

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """One image (h, w, 3) uint8 -> (3, H, W) float32, by the model's own image processor."""
        from PIL import Image

        values = self._processor(images=[Image.fromarray(pixels)], return_tensors="np")["pixel_values"]
        return np.asarray(values[0], dtype=np.float32)

    def encode_images(self, inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        """Prepared images (n, 3, H, W) -> embeddings (n, d), float32, unit length."""
        import torch

        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(inputs)).to(self._device)
            return _unit(self._model.get_image_features(pixel_values=batch))

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Texts -> embeddings (k, d), float64, unit length. Texts beyond the context length are cut.

        A text's embedding does not depend on the texts beside it: texts of equally many tokens go together, in
        batches of one size, so that neither padding nor the shape of a product reaches the last bits.
        """
        import torch

        tokens = self._tokenizer(list(texts), padding=_PADDING[self.family], truncation=True)["input_ids"]
        found = np.empty((len(texts), self.embedding_dim))
        lengths = np.array([len(ids) for ids in tokens], np.intp)
        for length in np.unique(lengths):
            same = np.flatnonzero(lengths == length)
            for start in range(0, len(same), _TEXTS):
                rows = same[start : start + _TEXTS]
                filled = np.resize(rows, _TEXTS)
                batch = torch.tensor([tokens[i] for i in filled]).to(self._device)
                with torch.inference_mode():
                    found[rows] = _unit(self._model.get_text_features(input_ids=batch))[: len(rows)]
        return found


def _unit(output: Any) -> NDArray[np.float32]:
    """Unit rows of a tower's output, whether it comes as a tensor or as a model output holding one."""
    import torch

    tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    array: NDArray[np.float32] = torch.nn.functional.normalize(tensor.double(), dim=-1).float().cpu().numpy()
    return array


def open_encoder(name: str, *, device: str = "cpu") -> HubEncoder:
    """Open a CLIP or SigLIP checkpoint: ``builtin:shapes``, a local folder, or a name on the model hub.

    Weights are read from safetensors only, remote code is never run, and a checkpoint that lacks part of the
    weights is refused instead of being filled with random ones. Raises ``LanguageError``.
    """
    where = builtin_folder() if name == BUILTIN else name
    local = Path(where).is_dir()
    if local:
        _check_folder(Path(where))
    try:
        return _load(name, str(where), local, device)
    except LanguageError:
        raise
    except Exception as error:  # the hub client and transformers raise many kinds for one fact
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise LanguageError(
            f"expected a CLIP or SigLIP model at {name!r}, but it could not be loaded: {reason}",
            hint="Without internet, pass --vlm DIR with a folder that holds the model in the hub's format "
            f"(config.json, model.safetensors, tokenizer, preprocessor_config.json), or --vlm {BUILTIN} for the "
            "generated world.",
        ) from error


def builtin_folder() -> Path:
    """The built-in model, in the hub's format."""
    return Path(str(resources.files("singaudit") / "demo" / "models" / "clip-shapes"))


def _check_folder(folder: Path) -> None:
    missing = [n for n in ("config.json", "preprocessor_config.json") if not (folder / n).is_file()]
    if missing:
        raise LanguageError(
            f"expected a vision-language model in the hub's format in {folder}, {' and '.join(missing)} missing",
            hint="Save it with save_pretrained(), or download all files of the hub's repository.",
        )
    if not list(folder.glob("*.safetensors")):
        raise LanguageError(
            f"expected weights as safetensors in {folder}, found none; pickled weights are never loaded",
            hint="Convert the checkpoint with save_pretrained(..., safe_serialization=True).",
        )


def _load(name: str, where: str, local: bool, device: str) -> HubEncoder:
    # Telemetry and advisory chatter have no place in an audit's output.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    import_torchvision()
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": local}
    config = transformers.AutoConfig.from_pretrained(where, **options)
    if config.model_type not in _PADDING:
        raise LanguageError(
            f"expected a model of the families {', '.join(_PADDING)} at {name!r}, found {config.model_type!r}",
            hint=f"The default is {DEFAULT}.",
        )
    # One commit for every file: a branch that moves between two downloads cannot mix two models.
    revision = getattr(config, "_commit_hash", None)
    pinned = options if local or revision is None else {**options, "revision": revision}
    model, info = transformers.AutoModel.from_pretrained(
        where, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **pinned
    )
    if info["missing_keys"] or info["mismatched_keys"]:
        lacking = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
        raise LanguageError(
            f"expected all weights of the {config.model_type} model at {name!r}, {len(lacking)} are missing or of "
            f"another shape, such as {lacking[0]}",
            hint="Use the complete checkpoint: nothing is filled with random weights.",
        )
    model = model.to(device).eval().requires_grad_(False)
    if sum(p.numel() for p in model.parameters()) < _SMALL_PARAMETERS:
        # Several threads on matrices this small wait for each other longer than they compute, and take the
        # cores from decoding: 4.8 times slower when another process is busy.
        torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(where, **pinned)
    processor = transformers.AutoImageProcessor.from_pretrained(where, backend="pil", **pinned)
    dim = config.projection_dim if config.model_type == "clip" else config.vision_config.hidden_size
    return HubEncoder(
        name, _digest(Path(where)) if local else str(revision), config.model_type, int(dim), model, tokenizer,
        processor, device,
    )  # fmt: skip


def _digest(folder: Path) -> str:
    """sha256 over the folder's weights, in name order."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
