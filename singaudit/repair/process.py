"""Copies of a classifier's ONNX file with another head or other features, made where its graph may be parsed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.interface import Classifier
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.process import ModelProcess
from singaudit.errors import ModelError

Array = NDArray[np.float64]

WORKER = "singaudit.repair.worker"
_PATIENCE = 5.0
"""Time limits for a comparison, which runs both models in both modes."""


@dataclass(frozen=True)
class NewModel:
    """A model file that is not written yet."""

    data: bytes
    """Of the file itself."""
    beside: Mapping[str, Path]
    """Its external data: name beside the file -> the file it is a copy of."""
    facts: Mapping[str, Any]
    """What was changed, as plain data."""


class Copies:
    """Makes copies of an opened classifier's file; its graph lives in a process that ends with this object.

    Every method raises ModelError where the file cannot be changed so, or its process crashes or takes too long.
    """

    def __init__(self, classifier: Classifier, asked: ModelOptions) -> None:
        """``asked``: what the user said of the model."""
        head = classifier.head
        if head.stored_dtype.startswith("int"):
            raise ModelError(
                f"expected a head of float weights, the {head.kind} head of {classifier.name} is quantised",
                hint="Repair the float model, then quantise that one.",
            )
        self._process = ModelProcess(classifier.graph_path, asked.limits, worker=WORKER)
        request = {
            "path": str(classifier.graph_path),
            "logits": head.logits,
            "features": asked.features,
            "preprocess": asked.preprocess,
        }
        _, found = self._process.ask("open and run one image", request)
        if found["weight"].shape != head.weight.shape or not np.allclose(found["weight"], head.weight):
            raise ModelError(
                f"the head of {classifier.name} was read in two ways", hint="Name its tensors: --logits NAME."
            )

    def free_biases(self) -> NDArray[np.bool_]:
        """(c,): which logits have a bias that the file can hold another number for. ModelError where no weight can be
        replaced at all."""
        return self._process.ask("find where its head is stored")[1]["free"].copy()

    def with_head(self, weight: Array, bias: Array, name: str) -> NewModel:
        """The model with the head ``weight`` (c, m), ``bias`` (c,); ask for ``free_biases`` first.

        ``name``: of the file, after which that of its external data is called.
        """
        return self._made("write a new head", name, {"weight": weight, "bias": bias})

    def with_output(self, matrix: Array, offset: Array, name: str) -> NewModel:
        """The model with one more output, ``features @ matrix (m, r) + offset (r,)``."""
        return self._made("add the seen part", name, {"matrix": matrix, "offset": offset})

    def with_features(self, matrix: Array, offset: Array, weight: Array, bias: Array, name: str) -> NewModel:
        """The model with these features in place of its own, under the head ``weight`` (c, r), ``bias`` (c,)."""
        arrays = {"matrix": matrix, "offset": offset, "head": np.ascontiguousarray(weight.T), "bias": bias}
        return self._made("replace its features", name, arrays)

    def compare(self, copy: Path, inputs: NDArray[np.generic], seconds: float = 0.0) -> dict[str, Any]:
        """The logits of the model and of its copy on prepared images; see ``repair.compare.compare``."""
        fields = {"copy": str(copy), "seconds": seconds}
        patience = _PATIENCE * (1 + len(inputs) / 64)
        return self._process.ask("compare with its copy", fields, {"inputs": np.asarray(inputs)}, patience)[0]

    def _made(self, request: str, name: str, arrays: dict[str, Array]) -> NewModel:
        facts, found = self._process.ask(request, {"name": name}, arrays)
        beside = {new: Path(file) for file, new in zip(facts.pop("files"), facts.pop("names"), strict=True)}
        return NewModel(found["data"].tobytes(), beside, facts)
