"""The child of :mod:`singaudit.repair.process`: finds a head's places in the file, and writes copies of the model.

Run as ``python -m singaudit.repair.worker MEMORY cpu|gpu SHARED``, as the worker of the classifier's sandbox is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from singaudit.classifier.sandbox.worker import Answer, Worker, main
from singaudit.errors import ModelError

if TYPE_CHECKING:
    import onnx

    from singaudit.classifier.sandbox.messages import Arrays
    from singaudit.classifier.sandbox.model import ReadModel
    from singaudit.repair.places import Places


class RepairWorker(Worker):
    """Holds one parsed model."""

    def __init__(self) -> None:
        super().__init__()
        self.read: ReadModel | None = None
        self.places: Places | None = None
        self.answers = {
            "open and run one image": self.open_graph,
            "find where its head is stored": self.find,
            "write a new head": self.write_head,
            "add the seen part": self.add_seen,
            "replace its features": self.project,
            "compare with its copy": self.compare,
        }

    def open_graph(
        self, arrays: Arrays, path: str, logits: str, features: str | None, preprocess: str | None
    ) -> Answer:
        """Parse the model and find its head."""
        from singaudit.classifier.options import ModelOptions
        from singaudit.classifier.sandbox.model import read_model

        options = ModelOptions(logits=logits, features=features, preprocess=preprocess, threads=1)
        self.read = read_model(Path(path), options)[0]
        return {}, {"weight": self.read.found.weight, "bias": self.read.found.bias}

    def find(self, arrays: Arrays) -> Answer:
        """Which logits have a bias that can be replaced. ModelError where the head cannot be written."""
        import numpy as np

        from singaudit.classifier.head.linear_form import NotLinear
        from singaudit.repair.places import find_places
        from singaudit.repair.rewrite import edits_of

        read = self._read()
        try:
            self.places = find_places(read.graph, read.trace, read.found.plan)
            # Whether the file has room for any head at all is asked before anything is fitted.
            other = np.random.default_rng(0).standard_normal(read.found.weight.shape)
            edits_of(self.places, self._widths(), read.found.weight + other, read.found.bias, self._old())
        except NotLinear as reason:
            raise self._unwritable(str(reason)) from reason
        return {}, {"free": self.places.free}

    def write_head(self, arrays: Arrays, name: str) -> Answer:
        """The model with another head: its bytes, and what was changed."""
        import onnx

        from singaudit.classifier.head.linear_form import NotLinear
        from singaudit.repair.rewrite import apply_edits, edits_of

        read = self._read()
        assert self.places is not None
        model = onnx.ModelProto()
        model.CopyFrom(read.model)
        try:
            edits = edits_of(self.places, self._widths(), arrays["weight"], arrays["bias"], self._old())
            changed = apply_edits(model, edits)
        except NotLinear as reason:
            raise self._unwritable(str(reason)) from reason
        return self._serialised(model, name, {"changed": changed})

    def add_seen(self, arrays: Arrays, name: str) -> Answer:
        """The model with the seen coordinates as one more output."""
        from singaudit.repair.trimmed import Affine, add_output

        read = self._read()
        model = add_output(read.graph, read.trace, read.found.plan, Affine(arrays["matrix"], arrays["offset"]))
        return self._serialised(model, name, {"output": model.graph.output[-1].name})

    def project(self, arrays: Arrays, name: str) -> Answer:
        """The model with the seen coordinates for features, a linear layer before them folded in where there is one."""
        from singaudit.repair.fold import folded
        from singaudit.repair.trimmed import Affine, replace_features

        read = self._read()
        plan = read.found.plan
        seen = Affine(arrays["matrix"], arrays["offset"])
        found = folded(read.graph, read.trace, plan, seen)
        leaves, seen = (plan.leaves, seen) if found is None else found
        model = replace_features(read.graph, read.trace, plan, leaves, seen, Affine(arrays["head"], arrays["bias"]))
        return self._serialised(model, name, {"folded": found is not None})

    def compare(self, arrays: Arrays, copy: str, seconds: float) -> Answer:
        """Logits of the model and of its copy on inputs, through ONNX Runtime in both modes, and their times."""
        from singaudit.repair.compare import compare

        return compare(self._read(), Path(copy), arrays["inputs"], seconds), {}

    def _read(self) -> ReadModel:
        assert self.read is not None, "nothing is asked of a model before it is opened"
        return self.read

    def _widths(self) -> list[int]:
        return [leaf.size for leaf in self._read().found.plan.leaves]

    def _old(self) -> tuple[Any, Any]:
        return self._read().found.weight, self._read().found.bias

    def _unwritable(self, reason: str) -> ModelError:
        return ModelError(
            f"a new head cannot be written into this file: {reason}",
            hint="Export the model again with a plain final linear layer of float weights (torch.nn.Linear)",
        )

    def _serialised(self, model: onnx.ModelProto, name: str, facts: dict[str, Any]) -> Answer:
        """The model's bytes, and the files of its external data with the names they get beside a file ``name``."""
        import numpy as np

        from singaudit.classifier.graph.external_data import external_files, relocate

        folder = self._read().folder
        files = external_files(model, folder)
        names = [f"{name}.data" if len(files) == 1 else f"{name}.data.{i}" for i in range(len(files))]
        relocate(model, {str(file.relative_to(folder)): new for file, new in zip(files, names, strict=True)})
        try:
            data = model.SerializeToString(deterministic=True)
        except ValueError as error:
            raise ModelError(
                "the new model exceeds the 2 GiB that an ONNX file can hold",
                hint="Export the model with external data (onnx.save_model(..., save_as_external_data=True))",
            ) from error
        return {**facts, "files": [str(file) for file in files], "names": names}, {
            "data": np.frombuffer(data, np.uint8)
        }


if __name__ == "__main__":
    main(RepairWorker())
