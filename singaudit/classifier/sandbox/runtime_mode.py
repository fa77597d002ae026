"""Which of ONNX Runtime's two modes computes what a graph says: with its graph optimisation, or without it.

Optimisers fold and fuse, which changes rounding, and some of what they do is wrong: zeros padded before a max pooling
are fused into the pooling, which pads with nothing, so that it matters where all pixels are negative. The stem of BiT
ResNets is such a graph; with random weights its logits move by 5 % of their range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from singaudit.classifier.graph.tolerances import largest_share
from singaudit.classifier.interface import Runtime, RuntimeMode
from singaudit.errors import ModelError, UnsupportedModelError
from singaudit.without_compiler import import_torch

Array = NDArray[Any]


def in_its_mode(
    make: Callable[[RuntimeMode], Any],
    path: Path,
    names: Sequence[str],
    feed: str,
    images: Array,
    plain: Sequence[Array] | None,
    tolerance: float,
) -> tuple[Any, Runtime, Sequence[Array] | None]:
    """The session that ``make`` gives in the mode to run the graph at ``path`` in, which mode that is, and what that
    session gave of ``images``, where it ran them.

    ``plain`` are the tensors ``names`` of one batch of ``images``, fed as ``feed``, in the unoptimised mode; None where
    ONNX Runtime cannot run the model so. ``tolerance`` is what its precision allows. Raises ModelError where it can in
    neither.
    """
    from singaudit.classifier.graph.session import run

    try:
        session = make("optimised")
    except ModelError as error:
        if plain is None:
            raise
        reason = f"{error.message}. That is with its graph optimisation; it is run without here"
        return make("unoptimised"), Runtime("unoptimised", None, reason), None
    if plain is None:
        return session, Runtime("optimised", None), None
    given = run(session, names, {feed: images})
    runtime = _settled(path, names, images, {"optimised": given, "unoptimised": plain}, tolerance)
    return (session, runtime, given) if runtime.mode == "optimised" else (make(runtime.mode), runtime, None)


def _settled(
    path: Path, names: Sequence[str], images: Array, found: Mapping[RuntimeMode, Sequence[Array]], tolerance: float
) -> Runtime:
    """Where the modes differ, the shadow copy in float64 decides; torch is imported for that alone."""
    difference = largest_share(found["optimised"], found["unoptimised"])
    if difference <= tolerance:
        return Runtime("optimised", difference)
    import_torch()
    from singaudit.classifier.shadow.certificate import in_float64
    from singaudit.classifier.shadow.module import shadow_copy

    moved = f"ONNX Runtime's graph optimisation moves what this model computes by {difference:.1%} of its range"
    try:
        shadow = shadow_copy(path, names, mapped=True)
    except UnsupportedModelError:
        return Runtime(
            "optimised", difference, f"{moved}; whether rightly cannot be told, because its shadow copy is unsupported"
        )
    exact = in_float64(shadow, images)
    return choose(difference, {mode: largest_share(values, exact) for mode, values in found.items()}, tolerance)


def choose(difference: float, distances: Mapping[RuntimeMode, float], tolerance: float) -> Runtime:
    """The optimised mode, unless only the other is within ``tolerance`` of the graph in float64.

    ``distances`` are the modes' own, ``difference`` is that between them, all as shares of the range.
    """
    optimised, plain = distances["optimised"], distances["unoptimised"]
    if optimised <= tolerance:
        return Runtime("optimised", difference)
    if not plain <= tolerance:
        # Neither computes the graph: no reason to leave what is deployed. The certificate fails and says how far off.
        return Runtime("optimised", difference)
    return Runtime(
        "unoptimised",
        difference,
        f"ONNX Runtime's graph optimisation moves what this model computes by {difference:.2g} of its range: with it "
        f"the model is {optimised:.2g} away from its graph in float64, without it {plain:.2g} (allowed {tolerance:g}). "
        "It is run without here; deployed with the runtime's defaults it gives other logits",
    )
