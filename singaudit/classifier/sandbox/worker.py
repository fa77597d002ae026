"""The child of :mod:`singaudit.classifier.sandbox.process`: holds one model and answers requests about it.

Run as ``python -m singaudit.classifier.sandbox.worker MEMORY cpu|gpu SHARED`` with messages on standard input and
output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from singaudit import child
from singaudit.errors import MachineError, ModelError
from singaudit.without_compiler import import_torch, uncollected

if TYPE_CHECKING:
    from singaudit.classifier.sandbox.messages import Arrays
    from singaudit.classifier.sandbox.model import OpenedModel

Answer = tuple[dict[str, Any], "Arrays"]


class Worker:
    """The model, once it is opened, and what may be asked of it."""

    def __init__(self) -> None:
        self.model: OpenedModel | None = None
        self.answers: dict[str, Callable[..., Answer]] = {
            "open and run one image": self.open,
            "run a batch": self.forward,
            "run its head": self.logits_of,
            "round features": self.representable,
            "compare with its shadow copy": self.certify,
        }

    def open(self, arrays: Arrays, **fields: Any) -> Answer:
        """What is known of the model once its head is proved."""
        with uncollected():
            from threadpoolctl import threadpool_limits

            from singaudit.classifier.options import ModelOptions
            from singaudit.classifier.sandbox.model import open_model

        try:
            path, private = fields.pop("path"), fields.pop("private")
            # A head's proof multiplies few rows: numpy's threads would wait for each other longer than they compute.
            with uncollected(), threadpool_limits(1, user_api="blas"):
                self.model = open_model(path, ModelOptions(**fields), None if private is None else Path(private))
        except MachineError as error:
            # One image is no load: what runs out of memory on it asks for more than a classifier does.
            raise ModelError(error.message, hint="Check the file, or allow more: --model-memory GIB") from error
        head = asdict(self.model.head)
        found = {name: head.pop(name) for name in ("weight", "bias", "quantisation_step")}
        kept = {name: array for name, array in found.items() if array is not None}
        return {**self.model.facts(), "head": head}, kept

    def forward(self, arrays: Arrays) -> Answer:
        """Features and logits of a batch."""
        features, logits = self._opened().forward(arrays["inputs"])
        return {}, {"features": features, "logits": logits}

    def logits_of(self, arrays: Arrays) -> Answer:
        """Logits of features."""
        return {}, {"logits": self._opened().logits_of(arrays["features"])}

    def representable(self, arrays: Arrays) -> Answer:
        """Features as the head's inputs hold them."""
        return {}, {"features": self._opened().representable(arrays["features"])}

    def certify(self, arrays: Arrays, seed: int, device: str, gradients: int | None) -> Answer:
        """The shadow copy's certificate; of few gradients, against the session at hand where both modes
        compute the same."""
        with uncollected():
            import_torch()
            from singaudit.classifier.shadow.certificate import MODES, certify

        model = self._opened()
        few = gradients is not None and not model.runtime.reason
        found = certify(
            str(model.path),
            inputs=arrays["inputs"],
            seed=seed,
            device=device,
            gradients=gradients,
            outputs=model.compared,
            modes=(model.runtime.mode,) if few else MODES,
            opened=model.sessions() if few else None,
        )
        return asdict(found), {}

    def _opened(self) -> OpenedModel:
        assert self.model is not None, "nothing is asked of a model before it is opened"
        return self.model

    def answer(self, request: str, fields: dict[str, Any], arrays: Arrays) -> Answer:
        """The answer, or what went wrong."""
        try:
            return self.answers[request](arrays, **fields)
        except Exception as error:
            hint = "check the file, use a smaller --batch-size, or allow more: --model-memory GIB"
            return child.as_fields(error, request, hint), {}


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output for messages alone: what libraries print goes nowhere."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    return source, sink


def main(worker: Worker | None = None) -> None:
    """Answer requests until the other side goes away."""
    source, sink = _own_streams()
    child.settle_in(int(sys.argv[1]), address_space=sys.argv[2] != "gpu")
    from singaudit.classifier.sandbox.messages import receive, send

    answering = worker or Worker()
    while True:
        try:
            fields, arrays = receive(source, sys.argv[3])
        except EOFError:
            return
        answer, found = answering.answer(fields.pop("request"), fields, arrays)
        send(sink, answer, found)


if __name__ == "__main__":
    main()
