"""ONNX Runtime as the reference: the deployed model's own arithmetic, with and without graph optimisation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from singaudit.classifier.graph.external_data import settle
from singaudit.classifier.graph.lookup import free_empty_axes
from singaudit.classifier.graph.session import make_session
from singaudit.classifier.interface import RuntimeMode
from singaudit.errors import ModelError

Array = NDArray[Any]

MODES: tuple[RuntimeMode, ...] = ("unoptimised", "optimised")
"""Of ONNX Runtime's graph optimisation."""


class Reference:
    """One model opened by ONNX Runtime on the CPU with and without its graph optimisation."""

    def __init__(
        self,
        model: onnx.ModelProto | str | os.PathLike[str],
        outputs: Sequence[str],
        inputs: Sequence[str],
        batch: int | None,
        modes: Sequence[RuntimeMode] = MODES,
        opened: Mapping[RuntimeMode, Any] | None = None,
    ) -> None:
        """Open the model.

        outputs: names of tensors to return, intermediate ones included; inputs: names of the graph's inputs; batch:
        the declared batch size, None where dynamic; modes: those to open; opened: sessions of some that have all
        outputs. Raises ModelError where none of them can run the model.
        """
        self._outputs = list(outputs)
        self._inputs = list(inputs)
        self._batch = batch
        self._sessions: dict[RuntimeMode, Any] = {m: s for m, s in (opened or {}).items() if m in modes}
        missing = [mode for mode in modes if mode not in self._sessions]
        source, folder = _source(model, outputs) if missing else ("", None)
        problems = []
        for mode in missing:
            try:
                self._sessions[mode] = make_session(source, folder, threads=torch.get_num_threads(), mode=mode)
            except ModelError as error:
                problems.append(f"{mode}: {error.message}")
        if not self._sessions:
            raise ModelError("; ".join(problems))

    @property
    def modes(self) -> tuple[RuntimeMode, ...]:
        """Which of the modes asked for can run the model."""
        return tuple(self._sessions)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the first input."""
        kind = next(iter(self._sessions.values())).get_inputs()[0].type
        return np.dtype(
            {"tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(uint8)": np.uint8}.get(
                kind, np.float32
            )
        )

    def run(self, mode: RuntimeMode, images: Array) -> list[Array]:
        """Return all outputs for images (n, ...), run in batches of the declared size (8 where dynamic)."""
        size = self._batch or 8
        parts = []
        for start in range(0, len(images), size):
            chunk = images[start : start + size]
            short = size - len(chunk) if self._batch else 0
            full = np.concatenate([chunk, np.repeat(chunk[-1:], short, 0)]) if short else chunk
            values = self._sessions[mode].run(self._outputs, {self._inputs[0]: np.ascontiguousarray(full)})
            parts.append([value[: len(chunk)] for value in values])
        return [np.concatenate(items) for items in zip(*parts, strict=True)]


def _source(model: onnx.ModelProto | str | os.PathLike[str], outputs: Sequence[str]) -> tuple[str | bytes, Path | None]:
    """What a session opens, with wanted intermediate tensors as outputs, and the folder of its external data.

    The path, with no folder to state, where the file does as it is; else the model's bytes.
    """
    folder = None
    if isinstance(model, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
    else:
        path = Path(model)
        copy = onnx.load(str(path), load_external_data=False)
        folder = settle(copy, path.parent)
    existing = {value.name for value in copy.graph.output}
    missing = [name for name in outputs if name not in existing]
    freed = free_empty_axes(copy)
    if not isinstance(model, onnx.ModelProto) and folder == Path(model).parent and not missing and not freed:
        return str(model), None
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in missing)
    return copy.SerializeToString(), folder
