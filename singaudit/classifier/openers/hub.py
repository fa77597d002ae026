"""``hf:ORG/NAME`` and local folders: image classifiers of transformers, timm's in the hub's layout, and ONNX graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from singaudit.classifier.convert.from_checkpoint import CONFIG
from singaudit.classifier.convert.from_transformers import COMBINED_PROCESSOR, PROCESSOR
from singaudit.classifier.convert.process import Original, converted
from singaudit.classifier.files.folder import inner_file, read_json, shard_names, shards
from singaudit.classifier.files.foreign import in_folder
from singaudit.classifier.interface import Classifier
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.preprocessing.metadata import ONNX_FOLDER
from singaudit.classifier.sandbox.onnx_classifier import open_onnx
from singaudit.errors import ModelError
from singaudit.hub.caller import Caller, Progress
from singaudit.hub.download import FileSelection, Snapshot, fetch

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
_GRAPHS = ("model.onnx", f"{ONNX_FOLDER}/model.onnx")
_DATA = ("_data", ".data")
"""What exporters put behind a graph's name to name its external data; numbers may follow."""


def is_transformers(folder: Path) -> bool:
    """Whether a folder's config.json is one of transformers."""
    try:
        return (folder / CONFIG).is_file() and "model_type" in read_json(folder / CONFIG)
    except ModelError:
        return False


def open_hub(name: str, options: ModelOptions, progress: Progress) -> Classifier:
    """The classifier of a repository of the hub, ORG/NAME or ORG/NAME@REVISION. Raises ModelError."""
    found = fetch_classifier(name, progress)
    return _open(found.folder, f"hf:{name}", pinned(found), options)


def fetch_classifier(name: str, progress: Progress) -> Snapshot:
    """Configuration, processor and weights of a repository of the hub. Raises ModelError."""
    return fetch(name, CALLER, FileSelection(_described, _weights, _settled), progress)


def pinned(found: Snapshot) -> dict[str, str]:
    """What the result says of where a classifier came from."""
    return {"revision": f"{found.name}@{found.revision}"}


def _described(held: Sequence[str]) -> list[str]:
    """The small files that say what the classifier is, and which its weights are."""
    weights = _weights_among(held)
    if CONFIG not in held and weights not in _graphs(held):
        raise ModelError(f"the repository holds no {CONFIG}", hint="Give an image classifier's repository.")
    return [
        name for name in (CONFIG, PROCESSOR, COMBINED_PROCESSOR, weights) if name in held and name.endswith(".json")
    ]


def _weights(folder: Path, held: Sequence[str]) -> list[str]:
    """The files of weights, once it is known that they are a classifier's."""
    named = read_json(inner_file(folder, CONFIG)).get("architectures") if CONFIG in held else None
    if isinstance(named, list) and named and not any("ImageClassification" in str(name) for name in named):
        raise ModelError(
            f"expected an image classifier, {CONFIG} names {str(named[0])[:80]}", hint="Give a classifier's repository."
        )
    weights = _weights_among(held)
    if weights.endswith(".onnx"):
        return [weights, *(name for name in held if name.startswith(tuple(weights + end for end in _DATA)))]
    return shard_names(folder, weights) if weights.endswith(".json") else [weights]


def _settled(held: Sequence[str]) -> tuple[str, ...]:
    """What has to be known to be missing before a graph is taken for want of weights."""
    return (PROCESSOR, CONFIG, *_WEIGHTS) if _weights_among(held).endswith(".onnx") else (PROCESSOR,)


def _weights_among(held: Sequence[str], where: object = "the repository") -> str:
    """The file, of the names that a repository or a folder holds, to read: weights before graphs."""
    found = next((name for name in (*_WEIGHTS, *_GRAPHS) if name in held), None)
    graphs = _graphs(held)
    if found is None and len(graphs) == 1:
        return graphs[0]
    if found is None and graphs:
        raise ModelError(
            f"{where}: expected one ONNX graph, found {', '.join(graphs[:6])}{', ...' if len(graphs) > 6 else ''}",
            hint="Give the path of one of them; `hf download` fetches a repository.",
        )
    other = in_folder(held) if found is None else None
    if other is not None:
        raise ModelError(
            f"{where} holds {other[0]}; expected one of {', '.join(_WEIGHTS)} or an ONNX graph", hint=other[1]
        )
    if found is None:
        raise ModelError(
            f"{where}: expected one of {', '.join(_WEIGHTS)} or an ONNX graph, found {_some(held)}",
            hint="Its weights may be for another library: choose a repository with safetensors; give a file itself; or "
            "save the model with save_pretrained().",
        )
    return found


def _graphs(held: Sequence[str]) -> list[str]:
    """ONNX graphs at the top and in the folder onnx/."""
    return [n for n in held if n.endswith(".onnx") and "/" not in n.removeprefix(f"{ONNX_FOLDER}/")]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") if names else "nothing"


def open_folder(folder: Path, options: ModelOptions) -> Classifier:
    """The classifier of a local folder in the hub's layout, or of the folder's one ONNX graph. Raises ModelError."""
    return _open(folder, folder.resolve().name, {}, options)


def _held(folder: Path) -> list[str]:
    """Names of what lies in a folder and in its folder onnx/, sorted. Raises ModelError."""
    found = []
    for inner, prefix in ((folder, ""), (folder / ONNX_FOLDER, f"{ONNX_FOLDER}/")):
        if not prefix or (inner.is_dir() and not inner.is_symlink()):
            try:
                found += sorted(prefix + path.name for path in inner.iterdir())
            except OSError as error:
                raise ModelError(
                    f"cannot read the folder {inner}: {error.strerror}", hint="Check its permissions."
                ) from error
    return found


def _open(folder: Path, name: str, facts: Mapping[str, str], options: ModelOptions) -> Classifier:
    held = _held(folder)
    found = _weights_among(held, folder)
    if found.endswith(".onnx"):
        return _graph(folder / found, name, facts, options)
    if CONFIG not in held:
        raise ModelError(f"{folder} holds {found} but no {CONFIG}", hint=f"Give the file, {found}, with --arch.")
    config = read_json(inner_file(folder, CONFIG))
    files = shards(folder, found) if found.endswith(".index.json") else [inner_file(folder, found)]
    if "model_type" not in config or options.arch is not None:
        if "architecture" not in config and options.arch is None:
            raise ModelError(
                f"{name}: {CONFIG} names neither a model_type of transformers nor an architecture of timm",
                hint="Name the architecture with --arch.",
            )
        request: dict[str, Any] = {"kind": "weights", "arch": options.arch, "allow_code": options.allow_code}
        kind = "checkpoint" if options.arch else "timm"
    else:
        beside = next((name for name in (PROCESSOR, COMBINED_PROCESSOR) if name in held), None)
        processor = read_json(inner_file(folder, beside)) if beside else {}
        request = {"kind": "transformers", "config": config, "processor": processor}
        kind = "transformers"
    request.update(name=name, files=[str(path) for path in files])
    return converted(request, Original(name, tuple(files), kind, facts), options)


def _graph(path: Path, name: str, facts: Mapping[str, str], options: ModelOptions) -> Classifier:
    """A folder's ONNX graph, under the repository's name where it came from one."""
    classifier = open_onnx(inner_file(path.parent, path.name), options)
    return replace(classifier, name=name, description={**classifier.description, **facts}) if facts else classifier
