"""``hf:ORG/NAME`` and local folders: image classifiers of transformers, and timm's in the hub's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from singaudit.classifier.boundaries import inner_file, read_json, shard_names, shards
from singaudit.classifier.conversion import Original, converted
from singaudit.classifier.interface import Classifier
from singaudit.classifier.onnx_file import open_onnx
from singaudit.classifier.transformers_models import PROCESSOR
from singaudit.classifier.weight_files import CONFIG
from singaudit.classifier.wishes import Wishes
from singaudit.errors import ModelError
from singaudit.hub.caller import Caller, Progress
from singaudit.hub.download import Snapshot, Wanted, fetch

CALLER = Caller(
    error=ModelError,
    noun="classifier",
    example="ORG/NAME or ORG/NAME@REVISION",
    folder="a folder",
    remedy="Where there is internet, run `hf download {name} --local-dir DIR`, bring DIR here and give it in the "
    "model's place.",
)
"""Classifiers, to the hub."""
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def is_transformers(folder: Path) -> bool:
    """Whether a folder's config.json is one of transformers."""
    try:
        return (folder / CONFIG).is_file() and "model_type" in read_json(folder / CONFIG)
    except ModelError:
        return False


def open_hub(name: str, wishes: Wishes, progress: Progress) -> Classifier:
    """The classifier of a repository of the hub, ORG/NAME or ORG/NAME@REVISION. Raises ModelError."""
    found = fetch_classifier(name, progress)
    return _open(found.folder, f"hf:{name}", pinned(found), wishes)


def fetch_classifier(name: str, progress: Progress) -> Snapshot:
    """Configuration, processor and weights of a repository of the hub. Raises ModelError."""
    return fetch(name, CALLER, Wanted(_described, _weights, (PROCESSOR,)), progress)


def pinned(found: Snapshot) -> dict[str, str]:
    """What the result says of where a classifier came from."""
    return {"revision": f"{found.name}@{found.revision}"}


def _described(held: Sequence[str]) -> list[str]:
    """The small files that say what the classifier is, and which its weights are."""
    if CONFIG not in held:
        raise ModelError(f"the repository holds no {CONFIG}", hint="Give an image classifier's repository.")
    weights = _weights_among(held)
    return [CONFIG, *(name for name in (PROCESSOR, weights) if name in held and name.endswith(".json"))]


def _weights(folder: Path, held: Sequence[str]) -> list[str]:
    """The files of weights, once it is known that they are a classifier's."""
    named = read_json(inner_file(folder, CONFIG)).get("architectures")
    if isinstance(named, list) and named and not any("ImageClassification" in str(name) for name in named):
        raise ModelError(
            f"expected an image classifier, {CONFIG} names {str(named[0])[:80]}", hint="Give a classifier's repository."
        )
    weights = _weights_among(held)
    return shard_names(folder, weights) if weights.endswith(".json") else [weights]


def _weights_among(held: Sequence[str]) -> str:
    found = next((name for name in _WEIGHTS if name in held), None)
    if found is None:
        raise ModelError(
            f"the repository holds none of {', '.join(_WEIGHTS)}",
            hint="Its weights may be for another library: choose a repository with safetensors.",
        )
    return found


def open_folder(folder: Path, wishes: Wishes) -> Classifier:
    """The classifier of a local folder in the hub's layout, or the folder's one ONNX file. Raises ModelError."""
    files = sorted(path.name for path in folder.iterdir()) if _readable(folder) else []
    graphs = [name for name in files if name.endswith(".onnx")]
    if CONFIG in files and any(name in files for name in _WEIGHTS):
        return _open(folder, folder.resolve().name, {}, wishes)
    if len(graphs) == 1:
        return open_onnx(
            inner_file(folder, graphs[0]), logits=wishes.logits, features=wishes.features,
            preprocess=wishes.preprocess, activation=wishes.activation, providers=wishes.providers,
            limits=wishes.limits,
        )  # fmt: skip
    raise ModelError(
        f"expected a model folder with {CONFIG} and model.safetensors in {folder}, found "
        f"{', '.join(files[:6]) + (', ...' if len(files) > 6 else '') if files else 'nothing'}",
        hint="Save it with save_pretrained(), or give the file itself.",
    )


def _readable(folder: Path) -> bool:
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise ModelError(f"cannot read the folder {folder}: {error.strerror}", hint="Check its permissions.") from error
    return True


def _open(folder: Path, name: str, facts: Mapping[str, str], wishes: Wishes) -> Classifier:
    config = read_json(inner_file(folder, CONFIG))
    found = next(part for part in _WEIGHTS if (folder / part).is_symlink() or (folder / part).exists())
    files = shards(folder, found) if found.endswith(".index.json") else [inner_file(folder, found)]
    if "model_type" not in config or wishes.arch is not None:
        if "architecture" not in config and wishes.arch is None:
            raise ModelError(
                f"{name}: {CONFIG} names neither a model_type of transformers nor an architecture of timm",
                hint="Name the architecture with --arch.",
            )
        request: dict[str, Any] = {"kind": "weights", "arch": wishes.arch, "allow_code": wishes.allow_code}
        kind = "checkpoint" if wishes.arch else "timm"
    else:
        beside = (folder / PROCESSOR).exists() or (folder / PROCESSOR).is_symlink()
        processor = read_json(inner_file(folder, PROCESSOR)) if beside else {}
        request = {"kind": "transformers", "config": config, "processor": processor}
        kind = "transformers"
    request.update(name=name, files=[str(path) for path in files])
    return converted(request, Original(name, tuple(files), kind, facts), wishes)
