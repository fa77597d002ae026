"""Opens an ONNX classifier in a process of its own: what parses or runs its graph natively can do no harm here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.graph.session import CPU
from singaudit.classifier.interface import Certificate, Head, Preprocessing, Runtime
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.process import ModelProcess
from singaudit.disk import PrivateFolder
from singaudit.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from singaudit.classifier.sandbox.messages import Arrays
    from singaudit.classifier.tap import Tap

_IMAGES_PER_LIMIT = 16
"""Images for which one time limit is enough; larger batches get as many more."""
_CERTIFICATE_PATIENCE = 5.0
"""Time limits for a certificate, which runs the model some hundred times."""
_ASKED = ("logits", "features", "preprocess", "activation", "providers", "threads", "stacked")
"""Options that the process which opens the model is told."""


@dataclass(frozen=True, eq=False)
class OnnxClassifier:
    """An opened ONNX file; see :class:`singaudit.classifier.interface.Classifier`. Made by :func:`open_onnx`.

    Its graph lives in a process of its own, which ends with this object. Every method raises ModelError, naming the
    file, where that process crashes or takes longer than its limit.
    """

    name: str
    path: Path
    """The file that was named."""
    graph_path: Path
    """The copy of it that is run; of a large one another copy is, with the same weights in a file beside the graph."""
    sha256: str
    description: Mapping[str, str | int]
    class_names: tuple[str, ...] | None
    class_names_source: str
    preprocessing: Preprocessing
    runtime: Runtime
    head: Head
    taps: tuple[Tap, ...]
    """Where in the graph's tensors the features are, part by part."""
    process: ModelProcess
    """In which the graph is run."""
    format: str = "onnx"
    keep: object = None
    """Whatever must live as long as this object, such as the folder of an exported graph."""

    def forward(self, inputs: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features (n, m) and logits (n, c), both float32, of a batch laid out as ``preprocessing`` says."""
        patience = 1 + len(inputs) / _IMAGES_PER_LIMIT
        _, found = self.process.ask("run a batch", arrays={"inputs": np.asarray(inputs)}, patience=patience)
        return found["features"], found["logits"]

    def logits_of(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (n, c) that the classifier's own head arithmetic gives for features (n, m)."""
        return self.process.ask("run its head", arrays={"features": features})[1]["logits"]

    def representable(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """The features (n, m) as the head's inputs can hold them: rounded to a quantised head's grid or to half."""
        return self.process.ask("round features", arrays={"features": features})[1]["features"]

    def certify(
        self, inputs: NDArray[np.generic], *, seed: int = 0, device: str = "cpu", gradients: int | None = None
    ) -> Certificate:
        """The certificate of the shadow copy on prepared images (n, ...); ``device`` is torch's name of one.

        ``gradients``: on how many of them the gradient is checked; None: four.
        """
        fields = {"seed": seed, "device": device, "gradients": gradients}
        answer, _ = self.process.ask(
            "compare with its shadow copy", fields, {"inputs": np.asarray(inputs)}, _CERTIFICATE_PATIENCE
        )
        return Certificate(**_with_tuples(answer))


def open_onnx(
    path: str | Path, options: ModelOptions | None = None, private: PrivateFolder | None = None
) -> OnnxClassifier:
    """An ONNX classifier with its head proved, ready to run.

    What is hashed and run is a copy of the file and its external data, made once, in a folder that lives as long as
    the classifier. ``private``: that folder, where the file lies in it already.

    Where ``options`` name no logits or features and the graph leaves a choice, the file's metadata
    ``singaudit.logits`` and ``singaudit.features`` do.

    Raises ModelError for a file that cannot be opened, crashes or hangs its reader, or whose head cannot be found
    or proved; ConfigError for options that do not fit it.
    """
    from singaudit.classifier.graph.checks import check_file

    options = options or ModelOptions()
    path = Path(path)
    if options.arch is not None:
        raise ConfigError(f"--arch is for files that hold weights alone; {path.name} brings its architecture along")
    if options.activation not in ("auto", "softmax", "sigmoid", "none"):
        raise ConfigError(
            f"activation expected auto, softmax, sigmoid or none, got {options.activation!r}", hint="Pass auto."
        )
    try:
        check_file(path)
        process = ModelProcess(path, options.limits, gpu=tuple(options.providers) != CPU)
        kept = private or PrivateFolder()
        request = {
            "path": str(path),
            "private": str(kept.path) if private is None else None,
            **{name: getattr(options, name) for name in _ASKED},
        }
        return _opened(path, kept, process, *process.ask("open and run one image", request))
    except ModelError as error:
        if path.name in error.message:
            raise
        raise type(error)(f"{path.name}: {error.message}", hint=error.hint) from error


def _opened(
    path: Path, kept: PrivateFolder, process: ModelProcess, facts: dict[str, Any], arrays: Arrays
) -> OnnxClassifier:
    """The classifier, of what the process that opened it tells."""
    from singaudit.classifier.tap import Tap

    return OnnxClassifier(
        name=path.name,
        path=path,
        graph_path=kept.path / path.name,
        sha256=facts["sha256"],
        description=facts["description"],
        class_names=None if facts["class_names"] is None else tuple(facts["class_names"]),
        class_names_source=facts["class_names_source"],
        preprocessing=Preprocessing(**_with_tuples(facts["preprocessing"])),
        runtime=Runtime(**facts["runtime"]),
        head=Head(
            weight=arrays["weight"],
            bias=arrays["bias"],
            quantisation_step=arrays.get("quantisation_step"),
            **_with_tuples(facts["head"]),
        ),
        taps=tuple(Tap(**_with_tuples(tap)) for tap in facts["taps"]),
        process=process,
        keep=kept,
    )


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
