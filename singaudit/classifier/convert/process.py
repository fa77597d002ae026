"""torch networks become ONNX files in a process of their own: one head finder, one proof, one shadow copy for all."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from singaudit import child
from singaudit.classifier.files.taken import take, take_all
from singaudit.classifier.interface import Head, Preprocessing, StoredDtype
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.preprocessing.syntax import parse_preprocess
from singaudit.classifier.sandbox.onnx_classifier import OnnxClassifier, open_onnx
from singaudit.classifier.sandbox.process import SECONDS, Limits, default_memory
from singaudit.disk import PrivateFolder
from singaudit.errors import MachineError, ModelError
from singaudit.machine import wants_memory

PATIENCE = 4.0
"""Time limits of one answer that a conversion may take: it imports torch, builds the network, exports and compares."""
_COARSENESS: list[StoredDtype] = ["float32", "float16", "bfloat16"]


CONFIG = "config.json"


@dataclass(frozen=True)
class Original:
    """What the user named, before it was converted."""

    name: str
    """As shown to people."""
    files: tuple[Path, ...]
    """Whose bytes make it: sha256 is theirs."""
    format: str
    """Word for result.json, such as "checkpoint"."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """More for ``inspect``, such as the hub's revision."""


def converted(request: Mapping[str, Any], original: Original, options: ModelOptions) -> OnnxClassifier:
    """The classifier of a torch network, exported to a temporary folder that lives as long as it does.

    ``request`` is what ``conversion_child`` reads, without what ``options`` say. Name, hash and format are the
    original's. Raises ModelError, ConfigError and MachineError as the child or ``open_onnx`` found them.
    """
    stated = parse_preprocess(options.preprocess) if options.preprocess else {}
    folder, copies = PrivateFolder(), PrivateFolder()
    files, sha256 = take_all(original.files, copies.path)
    _bring_configuration(original.files, copies.path)
    graph = folder.path / f"{file_name(original.name).replace('/', '_')}.onnx"
    asked = {**request, "files": [str(path) for path in files], "out": str(graph), "preprocess": options.preprocess}
    answer = _ask(asked, original, options.limits)
    copies.cleanup()
    classifier = open_onnx(graph, replace(options, arch=None), folder)
    return replace(_presented(classifier, answer, original, stated), sha256=sha256)


def _bring_configuration(sources: Sequence[Path], folder: Path) -> None:
    """The config.json that lies beside the weights beside their copies, where it is none of them itself."""
    for beside in {source.parent / CONFIG for source in sources}:
        if beside.is_file() and not (folder / CONFIG).exists():
            take(beside, folder / CONFIG, hashlib.sha256())


def _ask(request: Mapping[str, Any], original: Original, limits: Limits) -> dict[str, Any]:
    """What the child says of the network it exported."""
    memory = int(limits.memory * (1 << 30)) if limits.memory else default_memory()
    size = sum(path.stat().st_size for path in original.files)
    seconds = PATIENCE * (limits.seconds or SECONDS + 60.0 * size / (1 << 30))
    try:
        done = subprocess.run(
            child.command("singaudit.classifier.convert.worker"),
            input=json.dumps({**request, "memory": memory}),
            capture_output=True,
            text=True,
            timeout=seconds,
            env=child.environment(),
            pass_fds=child.inherited(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"{original.name}: the model was not read and exported within {seconds:.3g} s",
            hint="Check the file; or allow more: --model-seconds N.",
        ) from error
    answer_file = Path(request["out"]).with_suffix(".json")
    if not answer_file.is_file():
        code = done.returncode
        if code == -9:
            raise MachineError(
                f"{original.name}: the process that reads the model was killed; memory ran out",
                hint="Use a machine with more memory.",
            )
        if code == 1 and wants_memory(done.stderr[-4096:]):
            raise MachineError(
                f"{original.name}: there is too little memory to read the model: its process may take "
                f"{memory / 2**30:.3g} GiB",
                hint="Allow more: --model-memory GIB.",
            )
        raise ModelError(
            f"{original.name}: reading the model crashed its process ({f'signal {-code}' if code < 0 else code})",
            hint=f"The file is damaged, or needs more than the {memory / 2**30:.1f} GiB it may take: "
            "--model-memory GIB.",
        )
    answer: dict[str, Any] = json.loads(answer_file.read_text(encoding="utf-8"))
    child.raise_fields(answer, original.name)
    return answer


def _presented(
    classifier: OnnxClassifier, answer: Mapping[str, Any], original: Original, stated: Mapping[str, Any]
) -> OnnxClassifier:
    """The classifier under the original's name, with what its makers state of it."""
    graph = classifier.description
    kept = {key: value for key, value in graph.items() if key in ("input", "outputs", "nodes", "parameters")}
    return replace(
        classifier,
        name=original.name,
        format=original.format,
        description={**answer["description"], **original.facts, **kept},
        class_names_source=answer["class_names_source"] or classifier.class_names_source,
        preprocessing=_sourced(classifier.preprocessing, answer, stated),
        head=_stored(classifier.head, answer["stored"]),
    )


def _sourced(how: Preprocessing, answer: Mapping[str, Any], stated: Mapping[str, Any]) -> Preprocessing:
    """With who states it, and what is but usual for the architecture among the guesses."""
    guessed = list(how.guessed)
    if not {"mean", "std"} <= stated.keys() and "scale" not in stated:
        guessed += [key for key in answer["defaults"] if key not in stated and key != "size"]
    guessed += ["size"] if answer["size_guessed"] else []
    parts = ["--preprocess"] if stated else []
    parts += [answer["source"]] if answer["stated"] else []
    words = " and ".join(parts)
    if guessed:
        guess = answer["defaults_source"] or "the input"
        words = f"{words}; the rest is a guess from {guess}" if words else f"a guess from {guess}"
    return replace(how, source=words or how.source, guessed=tuple(dict.fromkeys(guessed)))


def _stored(head: Head, stored: Mapping[str, Any]) -> Head:
    """The head with the type its weight is stored in: the coarsest of the tensors with one row a logit.

    It computes in float32, as a float64 weight does after the export.
    """
    rows = len(head.weight)
    types = {dtype for dtype, shape in stored.values() if len(shape) >= 2 and shape[0] == rows}
    coarsest = max((t for t in types if t in _COARSENESS), key=_COARSENESS.index, default=head.stored_dtype)
    return replace(head, stored_dtype=coarsest)


def file_name(text: str) -> str:
    """A name for messages, without what a terminal would act on."""
    return re.sub(r"[^\w.:@/+-]", "?", text)[:200]
