"""An ONNX classifier in the process that may run it: its head found and proved, inputs to features and logits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from singaudit.classifier.graph.lookup import GraphIndex, attributes
from singaudit.classifier.graph.session import CPU
from singaudit.classifier.graph.tolerances import TOLERANCES, precision_of
from singaudit.classifier.head.plan import HeadPlan, Trace
from singaudit.classifier.head.taps import tap_of_leaf, tap_of_logits
from singaudit.classifier.interface import Activation, Head, Precision, Preprocessing, Runtime, RuntimeMode
from singaudit.classifier.options import ModelOptions
from singaudit.classifier.sandbox.batching import mapped, pieces
from singaudit.classifier.sandbox.runtime_mode import in_its_mode
from singaudit.errors import ModelError

if TYPE_CHECKING:
    import onnx

    from singaudit.classifier.graph.checks import Parsed
    from singaudit.classifier.head.first_run import InputSpec
    from singaudit.classifier.head.proof import FoundHead

_LARGEST_CHUNK = 4096
"""Rows that the head's own arithmetic gets at once; bounds memory for any number of features."""
_COMPARED = 4
"""Most random images on which ONNX Runtime's two modes are compared, unless the first run was of more: large networks
take seconds for each."""
_VALUES = 16
"""Logits that their range is taken over at least: of few classes more images are compared."""
_PIECE = 2
"""Images per piece when a batch is run in pieces side by side. Measured in examples/benchmarks/: pieces this small
stay in a core's cache, and whole pieces per thread wait less than threads that share every operator."""


class OpenedModel:
    """A parsed ONNX file with its sessions. Made by :func:`open_model`, in the model's own process."""

    def __init__(
        self, path: Path, sha256: str, graph: GraphIndex, spec: InputSpec, trace: Trace, plan: HeadPlan, sessions: Any,
        runtime: Runtime, side_by_side: int, piece: int | None,
    ) -> None:  # fmt: skip
        self.path = path
        self.sha256 = sha256
        self.description = _description(graph, spec)
        self.class_names = spec.metadata.class_names
        self.class_names_source = spec.metadata.class_names_source
        self.preprocessing: Preprocessing = spec.preprocessing
        self.head: Head  # set by open_model once it is proved
        self.runtime = runtime
        self._input = spec.name
        self._session, self._head_session = sessions
        self._taps = [tap_of_leaf(trace, leaf) for leaf in plan.leaves]
        self._logits = tap_of_logits(trace, plan.logits)
        self._names = _tensors(plan)
        self.compared = (self._logits.tensor,) if _gives_names(graph) else None
        """What the shadow copy is compared on; None: the graph's outputs. Logits where one of those is no tensor."""
        self._least = trace.least_batch
        self._batch = _fixed_batch(graph, trace)
        self._side_by_side = side_by_side
        self._piece = piece

    def facts(self) -> dict[str, Any]:
        """What the classifier outside this process says of itself; plain data."""
        return {
            "sha256": self.sha256,
            "description": self.description,
            "class_names": self.class_names,
            "class_names_source": self.class_names_source,
            "preprocessing": asdict(self.preprocessing),
            "runtime": asdict(self.runtime),
            "taps": [asdict(tap) for tap in self._taps],
        }

    def forward(self, inputs: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features (n, m) and logits (n, c), both float32, of a batch laid out as ``preprocessing`` says.

        A graph with a fixed batch size gets the batch in pieces, the last one filled up; a dynamically quantised
        graph, whose grid would depend on the batch's other images, gets one image at a time. On a CPU small pieces
        of one size run side by side, each on its own thread: no image's bits depend on the batch or on the threads.
        """
        batches = list(pieces(np.asarray(inputs), self._piece, self._least))
        found = mapped(
            lambda piece: self._run(self._session, self._names, {self._input: piece[0]}), batches, self._side_by_side
        )
        rows = [self.rows(values, count) for (_, count), values in zip(batches, found, strict=True)]
        if not rows:
            m, c = sum(tap.size for tap in self._taps), self._logits.size
            return np.empty((0, m), np.float32), np.empty((0, c), np.float32)
        return _joined([features for features, _ in rows]), _joined([logits for _, logits in rows])

    def rows(self, values: Sequence[NDArray[Any]], count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features and logits of the first ``count`` images of a run, by the tensors that hold them, logits last."""
        arrays = dict(zip(self._names, values, strict=True))
        parts = [tap.read(arrays[tap.tensor])[:count] for tap in self._taps]
        features = parts[0] if len(parts) == 1 else np.hstack(parts)
        return features, self._logits.read(arrays[self._logits.tensor])[:count]

    def logits_of(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (n, c) that the classifier's own head arithmetic gives for features (n, m)."""
        logits = []
        rows = np.ascontiguousarray(features, dtype=np.float32)
        for piece, count in pieces(rows, self._batch, self._least, _LARGEST_CHUNK):
            feeds, start = {}, 0
            for tap in self._taps:
                feeds[tap.tensor] = tap.write(piece[:, start : start + tap.size])
                start += tap.size
            out = self._run(self._head_session, [self._logits.tensor], feeds)
            logits.append(self._logits.read(out[0])[:count])
        return _joined(logits) if logits else np.empty((0, self._logits.size), np.float32)

    def representable(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """The features (n, m) as the head's inputs can hold them: rounded to a quantised head's grid or to half."""
        parts, start = [], 0
        for tap in self._taps:
            parts.append(tap.read(tap.write(features[:, start : start + tap.size])))
            start += tap.size
        return np.hstack(parts)

    def sessions(self) -> dict[RuntimeMode, Any]:
        """The session that runs the whole graph, by its mode, where it runs on the CPU."""
        alone = tuple(self._session.get_providers()) == CPU
        return {self.runtime.mode: self._session} if alone else {}

    @staticmethod
    def _run(session: Any, names: Sequence[str], feeds: dict[str, Any]) -> list[Any]:
        from singaudit.classifier.graph.session import run

        return run(session, names, feeds)


@dataclass(frozen=True)
class ReadModel:
    """A parsed ONNX file whose head was found, not yet proved."""

    model: onnx.ModelProto
    """Local functions inlined, external data not loaded."""
    data: bytes
    """The model's own bytes."""
    folder: Path
    """Of its external data."""
    graph: GraphIndex
    """The model as lookup tables."""
    spec: InputSpec
    """Its image input."""
    trace: Trace
    """What its first run told."""
    found: FoundHead
    """Its head."""


def read_model(
    path: Path, options: ModelOptions, beside: Path | None = None, parsed: Parsed | None = None
) -> tuple[ReadModel, Any, RuntimeMode]:
    """Parse the file, run it once and find its head; the model, the session of its first run, and that one's mode.

    ``beside``: the folder where what is said of the model may lie; None: its own. ``parsed``: the file, where somebody
    parsed it. Raises ModelError and ConfigError.
    """
    from singaudit.classifier.graph import checks
    from singaudit.classifier.graph.session import exposed
    from singaudit.classifier.head.first_run import input_spec, trace_tensors
    from singaudit.classifier.head.proof import find_head

    model, data, folder = parsed or checks.parse(path)
    graph = GraphIndex(model, folder)
    spec = input_spec(graph, options.preprocess, beside or path.parent)
    logits, features = options.logits or spec.metadata.logits, options.features or spec.metadata.features
    asked = trace_tensors(graph, logits, features)
    names = asked[0] + asked[1]
    first, trace, mode = _first_run(exposed(model, data, names), folder, options.threads, graph, spec, asked)
    found = find_head(graph, trace, logits, features, options.stacked == "collapsed")
    return ReadModel(model, data, folder, graph, spec, trace, found), first, mode


def open_model(path: str | Path, options: ModelOptions, private: Path | None = None) -> OpenedModel:
    """Parse the file, run it once, find its head and prove it; as ``onnx_classifier.open_onnx``, in this process.

    ``private``: a folder for a copy of the file and its external data, which is what is hashed and what is run; None
    where the file lies in one already. Raises ModelError and ConfigError.
    """
    from singaudit.classifier.graph import checks
    from singaudit.classifier.graph.external_data import external_files
    from singaudit.classifier.graph.session import exposed, make_session
    from singaudit.classifier.head.first_run import random_images
    from singaudit.classifier.head.proof import PROOF_IMAGES
    from singaudit.classifier.head.subgraph import head_model

    path = Path(path)
    beside, sha256, parsed = path.parent, "", None
    if private is not None:
        path, sha256, parsed = checks.take_model(path, private)
    providers, threads = options.providers, options.threads
    read, first, mode = read_model(path, options, beside, parsed)
    del parsed
    model, data, folder, graph, spec, trace, found = (
        read.model,
        read.data,
        read.folder,
        read.graph,
        read.spec,
        read.trace,
        read.found,
    )
    plan = found.plan
    names = _tensors(plan)
    images, plain = _compared(read, first, mode)
    del first
    side_by_side, threads_each = _division(_fixed_batch(graph, trace), providers, threads)
    session, runtime, given = in_its_mode(
        lambda mode: make_session(exposed(model, data, names), folder, providers, threads_each, mode),
        path,
        names,
        spec.name,
        images,
        plain,
        TOLERANCES[_precision(graph)],
    )
    head_session = make_session(head_model(graph, trace, plan), folder, providers, threads, runtime.mode)
    sha256 = sha256 or checks.sha256_of(path, external_files(model, folder))
    fixed = _fixed_batch(graph, trace)
    piece = max(_PIECE, trace.least_batch) if fixed is None and tuple(providers) == CPU else fixed
    opened = OpenedModel(path, sha256, graph, spec, trace, plan, (session, head_session), runtime, side_by_side, piece)
    wanted, stated = _activation(options.activation, found.activation, spec.metadata.activation, opened._logits.size)
    if given is not None and fixed is None and len(images) == PROOF_IMAGES:
        rows = opened.rows(given, PROOF_IMAGES)
    else:
        rows = opened.forward(random_images(spec.preprocessing, PROOF_IMAGES, PROOF_IMAGES))
    opened.head = found.proved(opened, rows, wanted, stated)
    return opened


def _tensors(plan: HeadPlan) -> list[str]:
    """Names of the tensors that hold features, and of that which holds logits."""
    return [*dict.fromkeys([*(leaf.tensor for leaf in plan.leaves), plan.logits])]


def _compared(read: ReadModel, first: Any, mode: RuntimeMode) -> tuple[NDArray[Any], list[NDArray[Any]] | None]:
    """Images to compare ONNX Runtime's modes on, and what the unoptimised one gives of them; None where it cannot.

    ``first``: the session of the first runs, in ``mode``, the last of which is enough where there are many classes.
    """
    from singaudit.classifier.graph.session import run
    from singaudit.classifier.head.first_run import random_images

    trace, names, spec = read.trace, _tensors(read.found.plan), read.spec
    count = min(_COMPARED, math.ceil(_VALUES / tap_of_logits(trace, names[-1]).size))
    enough = trace.static_batch is not None or count <= len(trace.images)
    images = trace.images if enough else random_images(spec.preprocessing, count, count)
    if mode == "optimised":
        return images, None
    if enough and trace.given.keys() >= set(names):
        return images, [trace.given[name] for name in names]
    return images, run(first, names, {spec.name: images})


def _first_run(
    data: bytes,
    folder: Path,
    threads: int | None,
    graph: GraphIndex,
    spec: InputSpec,
    asked: tuple[list[str], list[str]],
) -> tuple[Any, Trace, RuntimeMode]:
    """(session, what the search for the head asks about, mode), unoptimised where ONNX Runtime can run the model so."""
    from singaudit.classifier.graph.session import make_session
    from singaudit.classifier.head.first_run import take_trace

    # Of all operators this one computes something else where its weights are not packed.
    few = all(node.op_type != "MatMulNBits" for node in graph.order)
    try:
        session = make_session(data, folder, CPU, threads, "unoptimised", few=few)
        return session, take_trace(graph, spec, session, asked), "unoptimised"
    except ModelError:
        session = make_session(data, folder, CPU, threads)
        return session, take_trace(graph, spec, session, asked), "optimised"


def _precision(graph: GraphIndex) -> Precision:
    elements = [item.data_type for item in graph.initializers.values()]
    elements += [item.type.tensor_type.elem_type for item in graph.inputs]
    return precision_of((node.op_type for node in graph.order), elements)


def _activation(asked: str, graph: Activation | None, metadata: str | None, logits: int) -> tuple[Activation, bool]:
    """(activation, whether somebody said so): the user, else the graph, else the metadata, else softmax assumed.

    Of one logit a sigmoid is assumed: a softmax of it is always 1.
    """
    stated = asked if asked != "auto" else graph or metadata
    return stated or ("softmax" if logits > 1 else "sigmoid"), stated is not None  # type: ignore[return-value]


def _fixed_batch(graph: GraphIndex, trace: Trace) -> int | None:
    """Images that every run must hold; None where their number is free."""
    return 1 if _depends_on_batch(graph) and trace.static_batch is None else trace.static_batch


def _division(batch: int | None, providers: Sequence[str], threads: int | None) -> tuple[int, int | None]:
    """(pieces run side by side, threads of each; None: ONNX Runtime's choice).

    Beyond 16 cores each piece gets several threads, because a batch has no more pieces. A graph that takes large
    batches only, and anything but a CPU, gets one piece at a time.
    """
    if tuple(providers) != CPU or (batch or 1) > _PIECE:
        return 1, threads
    from singaudit.machine import cores

    available = threads or cores()
    each = max(1, available // 16)
    return max(1, available // each), each


def _joined(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _gives_names(graph: GraphIndex) -> bool:
    """Whether an output holds class names, or scores by them, which torch has no tensors for."""
    for item in graph.model.graph.output:
        node = graph.producers.get(item.name)
        kind = item.type.WhichOneof("value")
        if kind not in (None, "tensor_type") or item.type.tensor_type.elem_type == 8:
            return True
        if node is not None and node.op_type in ("ZipMap", "LabelEncoder"):
            return True
    return False


def _depends_on_batch(graph: GraphIndex) -> bool:
    """Whether an image's result depends on the other images of its batch: dynamic quantisation takes its grid
    from the whole tensor, and batch normalisation in training mode its mean."""
    for node in graph.order:
        if node.op_type in ("DynamicQuantizeLinear", "DynamicQuantizeMatMul"):
            return True
        learns = node.op_type == "BatchNormalization" and attributes(node).get("training_mode")
        if learns and graph.data_inputs(node):
            return True
    return False


def _description(graph: GraphIndex, spec: InputSpec) -> dict[str, str | int]:
    model = graph.model
    producer = " ".join(filter(None, (model.producer_name, model.producer_version)))
    shape = " x ".join("?" if axis is None else str(axis) for axis in spec.shape)
    parameters = sum(int(np.prod(item.dims)) for item in graph.initializers.values())
    return {
        "format": "ONNX",
        "opset": graph.opset,
        "IR version": model.ir_version,
        "producer": producer or "unknown",
        "input": f"{spec.name}: {spec.preprocessing.dtype} {shape}",
        "outputs": ", ".join(graph.outputs),
        "nodes": len(graph.order),
        "parameters": parameters,
    }
