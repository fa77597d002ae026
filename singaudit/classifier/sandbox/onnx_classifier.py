"""Opens an ONNX classifier in a process of its own: what parses or runs its graph natively can do no harm here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.graph.session import CPU
from singaudit.classifier.interface import Certificate, Head, Preprocessing, Runtime
from singaudit.classifier.sandbox.process import Limits, ModelProcess
from singaudit.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from singaudit.classifier.sandbox.messages import Arrays
    from singaudit.classifier.tap import Tap

_IMAGES_PER_LIMIT = 16
"""Images for which one time limit is enough; larger batches get as many more."""
_CERTIFICATE_PATIENCE = 5.0
"""Time limits for a certificate, which runs the model some hundred times."""


class OnnxClassifier:
    """An opened ONNX file; see :class:`singaudit.classifier.interface.Classifier`. Made by :func:`open_onnx`.

    Its graph lives in a process of its own, which ends with this object. Every method raises ModelError, naming the
    file, where that process crashes or takes longer than its limit.
    """

    format = "onnx"

    def __init__(self, path: Path, process: ModelProcess, facts: dict[str, Any], arrays: Arrays) -> None:
        self.name = path.name
        self.graph_path = path
        self.sha256: str = facts["sha256"]
        self.description: dict[str, str | int] = facts["description"]
        self.class_names = None if facts["class_names"] is None else tuple(facts["class_names"])
        self.class_names_source: str = facts["class_names_source"]
        self.preprocessing = Preprocessing(**_with_tuples(facts["preprocessing"]))
        self.runtime = Runtime(**facts["runtime"])
        self._taps: list[dict[str, Any]] = facts["taps"]
        step = arrays.get("quantisation_step")
        self.head = Head(
            weight=arrays["weight"], bias=arrays["bias"], quantisation_step=step, **_with_tuples(facts["head"])
        )
        self.keep: object = None
        """Whatever must live as long as this object, such as the folder of an exported graph."""
        self._process = process

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Where in the graph's tensors the features are, part by part."""
        from singaudit.classifier.tap import Tap

        return tuple(Tap(**_with_tuples(tap)) for tap in self._taps)

    def forward(self, inputs: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features (n, m) and logits (n, c), both float32, of a batch laid out as ``preprocessing`` says."""
        patience = 1 + len(inputs) / _IMAGES_PER_LIMIT
        _, found = self._process.ask("run a batch", arrays={"inputs": np.asarray(inputs)}, patience=patience)
        return found["features"], found["logits"]

    def logits_of(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (n, c) that the classifier's own head arithmetic gives for features (n, m)."""
        return self._process.ask("run its head", arrays={"features": features})[1]["logits"]

    def representable(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """The features (n, m) as the head's inputs can hold them: rounded to a quantised head's grid or to half."""
        return self._process.ask("round features", arrays={"features": features})[1]["features"]

    def certify(self, inputs: NDArray[np.generic], *, seed: int = 0, device: str = "cpu") -> Certificate:
        """The certificate of the shadow copy on prepared images (n, ...); ``device`` is torch's name of one."""
        fields = {"seed": seed, "device": device}
        answer, _ = self._process.ask(
            "compare with its shadow copy", fields, {"inputs": np.asarray(inputs)}, _CERTIFICATE_PATIENCE
        )
        return Certificate(**_with_tuples(answer))


def open_onnx(
    path: str | Path,
    *,
    logits: str | None = None,
    features: str | None = None,
    preprocess: str | None = None,
    activation: Literal["auto", "softmax", "sigmoid", "none"] | str = "auto",
    providers: Sequence[str] = CPU,
    threads: int | None = None,
    stacked: Literal["collapsed", "last"] = "last",
    limits: Limits | None = None,
) -> OnnxClassifier:
    """An ONNX classifier with its head proved, ready to run.

    ``logits`` and ``features`` name tensors where the graph leaves a choice (else the file's metadata
    ``singaudit.logits`` and ``singaudit.features`` do); ``stacked`` says what the head is where linear layers follow
    one another with nothing non-linear between: the last alone, or all of them as one (whose features then include
    what the earlier ones drop);
    ``preprocess`` is a ``--preprocess`` string; ``activation`` "auto" takes what the graph or its metadata says
    and assumes softmax where they say nothing; ``providers`` are ONNX Runtime's, exactly these; ``threads`` bounds
    the threads it uses (None: one per core); ``limits`` bound the process it runs in.

    Raises ModelError for a file that cannot be opened, crashes or hangs its reader, or whose head cannot be found
    or proved; ConfigError for options that do not fit it.
    """
    from singaudit.classifier.graph.checks import check_file

    if activation not in ("auto", "softmax", "sigmoid", "none"):
        raise ConfigError(
            f"activation expected auto, softmax, sigmoid or none, got {activation!r}", hint="--activation auto"
        )
    path = Path(path)
    try:
        check_file(path)
        process = ModelProcess(path, limits or Limits(), gpu=tuple(providers) != CPU)
        request = {
            "path": str(path), "logits": logits, "features": features, "preprocess": preprocess,
            "activation": activation, "providers": list(providers), "threads": threads,
            "collapse": stacked == "collapsed",
        }  # fmt: skip
        return OnnxClassifier(path, process, *process.ask("open and run one image", request))
    except ModelError as error:
        if path.name in error.message:
            raise
        raise type(error)(f"{path.name}: {error.message}", hint=error.hint) from error


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
