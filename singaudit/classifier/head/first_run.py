"""The first run of a model: its image input, and what the tensors around its outputs look like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from singaudit.classifier.graph.lookup import GraphIndex, shape_of
from singaudit.classifier.head.logits import candidates, check_name
from singaudit.classifier.head.plan import Trace
from singaudit.classifier.head.search import surroundings
from singaudit.classifier.interface import Preprocessing
from singaudit.classifier.preprocessing.from_graph import (
    graph_class_names,
    graph_preprocess,
    layout_by_names,
    settled_shape,
)
from singaudit.classifier.preprocessing.metadata import FileMetadata, read_metadata
from singaudit.classifier.preprocessing.resolve import resolve_preprocessing
from singaudit.classifier.preprocessing.syntax import parse_preprocess
from singaudit.errors import ModelError

FIRST_SEED = 7
"""Of the random images of the first run; those of the runs that follow are of the seed that is their number."""
_DTYPES = {1: "float32", 10: "float16", 2: "uint8"}
_LARGEST_BATCH = 16_384
"""Images of a fixed batch; a graph that asks for more asks for memory."""


@dataclass(frozen=True)
class InputSpec:
    """The classifier's one image input."""

    name: str
    shape: tuple[int | None, ...]
    preprocessing: Preprocessing
    metadata: FileMetadata


def input_spec(graph: GraphIndex, preprocess: str | None, folder: Path) -> InputSpec:
    """The image input and how images become it; ModelError unless there is exactly one of a known type."""
    if len(graph.inputs) != 1:
        names = ", ".join(repr(item.name) for item in graph.inputs)
        raise ModelError(
            f"expected a model with one input, a batch of images; it has {len(graph.inputs)}: {names}",
            hint="Export the image classifier alone",
        )
    value = graph.inputs[0]
    shape = shape_of(value)
    dtype = _DTYPES.get(value.type.tensor_type.elem_type)
    if dtype is None:
        raise ModelError(
            f"expected the input {value.name!r} to be float32, float16 or uint8; "
            f"its element type is number {value.type.tensor_type.elem_type}",
            hint="Export the classifier with a float32 input",
        )
    if (shape[0] or 1) > _LARGEST_BATCH:
        raise ModelError(
            f"the model takes batches of {shape[0]:,} images; the limit is {_LARGEST_BATCH:,}",
            hint="Export it with a free batch axis, or with one image",
        )
    properties = {item.key: item.value for item in graph.model.metadata_props}
    stated = parse_preprocess(preprocess) if preprocess else {}
    metadata = _with_the_graphs_own(read_metadata(properties, folder), graph, value, stated)
    how = resolve_preprocessing(
        stated,
        metadata.preprocess,
        settled_shape(graph, value, shape),
        dtype,
        metadata_source=metadata.preprocess_source,
    )
    return InputSpec(value.name, tuple(shape), how, metadata)


def _with_the_graphs_own(
    metadata: FileMetadata, graph: GraphIndex, value: Any, stated: Mapping[str, Any]
) -> FileMetadata:
    """With what the graph itself says of its input and classes, where no metadata do."""
    keys, source = dict(metadata.preprocess), metadata.preprocess_source
    if not {"scale", "mean"} & {*keys, *stated} and (inside := graph_preprocess(graph, value.name)):
        guesses = tuple(key for key in inside["guesses"] if key not in keys)
        keys = {**inside, **keys, "guesses": (*guesses, *keys.get("guesses", ()))}
        source = " and ".join(filter(None, (source, "the graph's own normalisation")))
    if (layout := layout_by_names(value)) and "layout" not in keys and keys:
        keys["layout"] = layout
    metadata = replace(metadata, preprocess=keys, preprocess_source=source)
    if metadata.class_names is not None:
        return metadata
    names, where = graph_class_names(graph)
    return replace(metadata, class_names=names, class_names_source=where)


def random_images(how: Preprocessing, count: int, seed: int) -> np.ndarray:
    """(count, ...) inputs from random 8-bit images, smooth and noisy ones in turn, in the input's dtype."""
    from singaudit.classifier.preprocessing.resolve import prepare

    generator = np.random.default_rng(seed)
    images = []
    for index in range(count):
        coarse = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        tall, wide = -(-how.height // 4), -(-how.width // 4)
        smooth = np.repeat(np.repeat(coarse, tall, axis=0), wide, axis=1)[: how.height, : how.width]
        noise = generator.integers(0, 256, smooth.shape, dtype=np.uint8)
        mixed = smooth if index % 2 == 0 else smooth // 2 + noise // 2
        images.append(prepare(np.ascontiguousarray(mixed), how))
    return np.stack(images)


def trace_tensors(graph: GraphIndex, logits: str | None, features: str | None) -> tuple[list[str], list[str]]:
    """(tensors whose shape, tensors whose value) the search for the head asks about."""
    starts = [item.tensor for item in candidates(graph, logits) if graph.kind(item.tensor) == "data"]
    if features is not None:
        check_name(graph, features, "--features")
        starts.append(features)
    if not starts:
        raise ModelError(
            "none of the model's outputs depends on its input; expected logits",
            hint="Name the logits with --logits NAME",
        )
    data, other = surroundings(graph, starts)
    computed = [name for name in data if name in graph.producers]
    if not computed:
        raise ModelError(
            "the model's output is its input; nothing is computed between them", hint="Export the whole classifier"
        )
    return computed, other


def take_trace(graph: GraphIndex, spec: InputSpec, session: Any, names: tuple[list[str], list[str]]) -> Trace:
    """Runs one image and then two (or the batch the graph insists on) and compares the shapes."""
    from singaudit.classifier.graph.session import run

    data, other = names
    static = spec.shape[0]
    images = random_images(spec.preprocessing, static or 1, FIRST_SEED)
    first = run(session, data + other, {spec.name: images})
    arrays = dict(zip(data, first, strict=False))
    shapes = _shapes(arrays)
    dtypes = {name: np.asarray(array).dtype.name for name, array in arrays.items()}
    values = {name: np.asarray(array) for name, array in zip(other, first[len(data) :], strict=True)}
    if static is not None:
        return _static_trace(shapes, values, dtypes, arrays, images)

    def more(count: int) -> tuple[dict[str, Any], np.ndarray]:
        several = random_images(spec.preprocessing, count, count)
        return dict(zip(data, run(session, data, {spec.name: several}), strict=True)), several

    try:
        given, several = more(2)
    except ModelError:  # the axis is named as free, yet one image is baked into the graph
        return _static_trace(shapes, values, dtypes, arrays, images)
    least = 1
    if any(np.ndim(given[name]) != len(shape) for name, shape in shapes.items()):
        least, shapes = 2, _shapes(given)
        given, several = more(3)
    grown = _shapes(given)
    axes = {name: _batch_axis(shape, grown[name], least) for name, shape in shapes.items()}
    single = {name: _for_one(shape, axes[name]) for name, shape in shapes.items()}
    return Trace(single, axes, values, None, dtypes, least, given, several)


def _shapes(arrays: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: np.shape(array) for name, array in arrays.items()}


def _batch_axis(fewer: tuple[int, ...], more: tuple[int, ...], count: int) -> int | None:
    """The only axis that grows from ``count`` to ``count + 1``; None where that is not what happens."""
    if len(fewer) != len(more):
        return None
    moved = [axis for axis, pair in enumerate(zip(fewer, more, strict=True)) if pair[0] != pair[1]]
    return moved[0] if len(moved) == 1 and (fewer[moved[0]], more[moved[0]]) == (count, count + 1) else None


def _for_one(shape: tuple[int, ...], batch_axis: int | None) -> tuple[int, ...]:
    return tuple(1 if axis == batch_axis else length for axis, length in enumerate(shape))


def _static_trace(
    shapes: dict[str, tuple[int, ...]],
    values: dict[str, Any],
    dtypes: dict[str, str],
    given: dict[str, Any],
    images: np.ndarray,
) -> Trace:
    """Batch axes by length: the first axis where it has the batch's length, else the only one that has.

    The proof of the head catches a wrong choice.
    """
    single, axes, batch = {}, {}, len(images)
    for name, shape in shapes.items():
        fits = [axis for axis, length in enumerate(shape) if length == batch]
        axis = None if not fits else 0 if fits[0] == 0 else fits[-1]
        axes[name] = axis
        single[name] = _for_one(shape, axis)
    return Trace(single, axes, values, batch, dtypes, given=given, images=images)
