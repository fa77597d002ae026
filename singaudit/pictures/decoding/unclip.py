"""unCLIP pipelines in the hub's format: which of their files are read, what is refused, and how they are opened."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from singaudit.classifier.files.folder import check_numbers, check_safetensors, inner_file, read_json
from singaudit.errors import LanguageError, MachineError, ModelError, short
from singaudit.hub.caller import Caller, Progress
from singaudit.hub.download import FileSelection, fetch
from singaudit.language.encoders.checks import check_description
from singaudit.machine import memory_ran_out, on_device
from singaudit.pictures.decoding.bound import BoundFiles
from singaudit.pictures.decoding.decode import Decoder, ImageTower
from singaudit.torchvision_import import import_torchvision

KARLO = "kakaobrain/karlo-v1-alpha-image-variations"
"""Trained on the image embeddings of openai/clip-vit-large-patch14, 768 wide."""
INSTALL = "Run pip install 'singaudit[unclip]'"
_NETWORKS = ("decoder", "text_encoder", "text_proj", "super_res_first", "super_res_last", "image_encoder")
_SETTINGS = ("tokenizer", "decoder_scheduler", "super_res_scheduler", "feature_extractor")
_PARTS = (*_NETWORKS, *_SETTINGS)
_WEIGHTS = ("diffusion_pytorch_model.safetensors", "model.safetensors")
_READ = (".json", ".txt")
_CALLER = Caller(
    error=LanguageError,
    noun="decoder",
    example="ORG/NAME or ORG/NAME@REVISION",
    folder="--decode DIR",
    remedy="Where there is internet, run `hf download {name} --local-dir DIR`, bring DIR here and pass --decode DIR.",
)


@dataclass(frozen=True)
class Pipeline:
    """A pipeline on this machine, its files checked."""

    name: str
    """As the user named it, without the revision."""
    revision: str | None
    """Commit of the hub; None for a folder."""
    folder: Path
    files: BoundFiles
    """Every file that is read, as it was hashed."""

    @property
    def sha256(self) -> str:
        """Over every file that is read."""
        return self.files.sha256


def located(text: str, progress: Progress = lambda stage, done, total: None) -> Pipeline:
    """The pipeline in a folder, or ``ORG/NAME[@REVISION]`` of the hub, downloaded where the hub's cache lacks it.

    Every file that is read is hashed, and refused later where it is another one by then. Raises LanguageError: without
    diffusers, with the line to type; and for what is no unCLIP image-variation pipeline
    whose every file is regular, lies inside the folder, and holds its weights as safetensors.
    """
    if importlib.util.find_spec("diffusers") is None:
        raise LanguageError("decoded pictures need diffusers, which is not installed", hint=INSTALL)
    folder = Path(text).expanduser()
    name, revision = text, None
    if not folder.is_dir():
        snapshot = fetch(text, _CALLER, FileSelection(_needed), progress)
        name, revision, folder = snapshot.name, snapshot.revision, snapshot.folder
    try:
        for part in _PARTS:
            _check_part(folder, part)
        found = Pipeline(name, revision, folder, BoundFiles.of(folder, _PARTS, _is_read))
        for part in _PARTS:  # what was hashed, not what lay there before
            _check_part(folder, part)
        found.files.check()
    except ModelError as error:
        raise LanguageError(f"the decoder in {text}: {error.message}", hint=error.hint) from error
    return found


def _needed(held: Sequence[str]) -> list[str]:
    """Of the names that a repository holds, those that are read. Raises LanguageError."""
    files = []
    for part in _PARTS:
        inside = [name for name in held if name.startswith(f"{part}/") and name.count("/") == 1]
        if not inside:
            raise _no_part(part)
        weights = [name for name in inside if name.endswith(_WEIGHTS)]
        if part in _NETWORKS and not weights:
            raise _no_weights(part)
        files += [name for name in inside if name.endswith(_READ) and not name.endswith(".index.json")]
        files += weights if part in _NETWORKS else []
    return files


def _is_read(name: str) -> bool:
    return name.endswith(_READ) or name in _WEIGHTS


def _check_part(folder: Path, part: str) -> None:
    inside = folder / part
    if not inside.is_dir() or inside.is_symlink():
        raise _no_part(part)
    files = [inner_file(inside, path.name) for path in sorted(inside.iterdir())]
    weights = [path for path in files if path.name in _WEIGHTS]
    if any(path.name.endswith(".index.json") for path in files):
        raise ModelError(f"the weights of {part!r} are in pieces", hint="Save each part's weights as one file.")
    for path in weights:
        check_numbers(read_json(inside / "config.json"), f"config.json of {part}", check_safetensors(path).tensors)
    if part in _NETWORKS and not weights:
        raise _no_weights(part)


def _no_part(part: str) -> LanguageError:
    return LanguageError(
        f"expected an unCLIP image-variation pipeline, its part {part!r} is missing or no folder",
        hint=f"Name one such as {KARLO}; one that starts from texts lacks the image encoder, by which it is compared "
        "with the vision-language model.",
    )


def _no_weights(part: str) -> LanguageError:
    return LanguageError(
        f"expected weights of {part!r} as safetensors, found none; pickled weights are never loaded",
        hint="Convert the pipeline with save_pretrained(..., safe_serialization=True).",
    )


def open_decoder(pipeline: Pipeline, device: str = "cpu") -> Decoder:
    """Open what draws. The prior, which turns texts into image embeddings, is not loaded. Raises LanguageError."""
    import_torchvision()
    import diffusers
    import transformers

    # Advice about deprecation and optional packages has no place in an audit's output.
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    variation = diffusers.UnCLIPImageVariationPipeline
    # Part by part: the index of a published pipeline names a place of this class from which it has moved, so that the
    # pipeline as a whole no longer opens; its constructor knows where the class is now.
    projection: Any = inspect.signature(variation.__init__).parameters["text_proj"].annotation
    kinds: dict[str, Any] = {
        "decoder": diffusers.UNet2DConditionModel,
        "text_encoder": transformers.CLIPTextModelWithProjection,
        "tokenizer": transformers.CLIPTokenizer,
        "text_proj": projection,
        "super_res_first": diffusers.UNet2DModel,
        "super_res_last": diffusers.UNet2DModel,
        "decoder_scheduler": diffusers.UnCLIPScheduler,
        "super_res_scheduler": diffusers.UnCLIPScheduler,
    }
    parts = {part: _opened(pipeline, part, kind) for part, kind in kinds.items()}
    # Image embeddings come from features: no image is ever encoded. The pipeline asks its encoder for its element type
    # all the same, and the text tower has the same one.
    made: Any = variation(**parts, feature_extractor=None, image_encoder=parts["text_encoder"])
    made = on_device(made, device)
    made.set_progress_bar_config(disable=True)
    return Decoder(pipeline.name, made, int(parts["text_proj"].clip_extra_context_tokens_proj.in_features))


def open_tower(pipeline: Pipeline, device: str = "cpu") -> ImageTower:
    """Open the pipeline's own image encoder. Raises LanguageError."""
    import_torchvision()
    import transformers

    model = on_device(_opened(pipeline, "image_encoder", transformers.CLIPVisionModelWithProjection), device).eval()
    extractor = _opened(pipeline, "feature_extractor", transformers.CLIPImageProcessorPil)
    return ImageTower(pipeline.name, model, extractor)


def _described(pipeline: Pipeline, part: str, kind: Any) -> Any:
    """A network as its configuration describes it, with no weights."""
    folder = str(pipeline.folder / part)
    if hasattr(kind, "load_config"):  # of diffusers
        return kind.from_config(kind.load_config(folder, local_files_only=True))
    return kind(kind.config_class.from_pretrained(folder, local_files_only=True))


def _opened(pipeline: Pipeline, part: str, kind: Any) -> Any:
    """One part, by the class that it must be: what its files say of classes and code is not asked."""
    pipeline.files.check()
    network = part in _NETWORKS
    asked: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True} if network else {}
    # Read, not mapped: of a mapped file that somebody cuts short, the next look kills the process.
    if network and (
        hasattr(kind, "load_config") or "disable_mmap" in inspect.signature(kind.from_pretrained).parameters
    ):
        asked["disable_mmap"] = True
    try:
        if network:
            held = [check_safetensors(p) for p in (pipeline.folder / part).iterdir() if p.name in _WEIGHTS]
            check_description(f"{part} of {pipeline.name}", held, lambda: _described(pipeline, part, kind))
        found = kind.from_pretrained(str(pipeline.folder), subfolder=part, local_files_only=True, **asked)
        pipeline.files.check()
    except LanguageError:
        raise
    except Exception as error:  # diffusers and transformers raise many kinds for one fact
        if memory_ran_out(error):
            raise MachineError(
                f"there is too little memory to open the decoder {pipeline.name!r}: {short(error)}",
                hint="Allow more memory (ulimit -v, the job's or the container's limit).",
            ) from error
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise LanguageError(
            f"expected an unCLIP pipeline at {pipeline.name!r}, but its {part} could not be loaded: {reason}",
            hint="Download or save it again.",
        ) from error
    if not network:
        return found
    model, told = found
    lacking = sorted([*told.get("missing_keys", ()), *(str(key[0]) for key in told.get("mismatched_keys", ()))])
    if lacking:
        # The libraries would fill them with random numbers.
        raise LanguageError(
            f"the weights of {part} in {pipeline.name!r} lack {len(lacking)} tensors or have other shapes, such as "
            f"{lacking[0][:80]}",
            hint="Download or save it again.",
        )
    return model
