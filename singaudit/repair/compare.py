"""A model beside its copy: the same images through ONNX Runtime, with its graph optimisation and without."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from singaudit.classifier.graph import checks
from singaudit.classifier.graph.session import CPU, exposed, make_session, run
from singaudit.classifier.graph.tolerances import precision_of
from singaudit.classifier.head.taps import tap_of_logits
from singaudit.classifier.interface import RuntimeMode
from singaudit.classifier.sandbox.batching import pieces
from singaudit.classifier.sandbox.model import ReadModel
from singaudit.errors import ModelError
from singaudit.metrics.intervals import Estimate

_MODES: tuple[RuntimeMode, ...] = ("unoptimised", "optimised")
_AT_ONCE = 16
"""Images a run."""
_SAMPLE = 2e-3
"""Seconds that are timed at once, at least: far above what a clock and a call cost."""
_ROUNDS = (6, 501)
"""Of six the smallest and the largest hold the median in 97 % of all cases; of fewer, in less than 95."""
_NARROW = 0.01
"""Width of the ratio's interval that is enough, from 21 rounds on."""


def compare(read: ReadModel, copy: Path, inputs: NDArray[Any], seconds: float) -> dict[str, Any]:
    """Largest difference of logits over their range, top-1 agreement (ties aside) and bit-identity, per mode.

    ``inputs`` (n, ...) are prepared images. ``seconds``: for how long a batch is timed, the two models in turn, in the
    optimised mode; 0: not at all. A mode in which ONNX Runtime cannot run the original is None.
    """
    model, data, folder = checks.parse(copy)
    logits = read.found.plan.logits
    tap = tap_of_logits(read.trace, logits)
    batch, least = read.trace.static_batch, read.trace.least_batch
    facts: dict[str, Any] = {"precision": _precision(read)}
    for mode in _MODES:
        try:
            old = make_session(exposed(read.model, read.data, [logits]), read.folder, CPU, 1, mode)
        except ModelError:
            facts[mode] = None
            continue
        new = make_session(exposed(model, data, [logits]), folder, CPU, 1, mode)
        found: list[list[NDArray[np.float32]]] = [[], []]
        for piece, count in pieces(inputs, batch, least, _AT_ONCE):
            for rows, session in zip(found, (old, new), strict=True):
                rows.append(tap.read(run(session, [logits], {read.spec.name: piece})[0])[:count])
        facts[mode] = _apart(np.concatenate(found[0]), np.concatenate(found[1]))
        if mode == "optimised" and seconds:
            piece = next(iter(pieces(inputs, batch, least, _AT_ONCE)))[0]
            facts["time"] = {"images": len(piece), **_times((old, new), logits, {read.spec.name: piece}, seconds)}
    return facts


def _precision(read: ReadModel) -> str:
    elements = [item.data_type for item in read.graph.initializers.values()]
    elements += [item.type.tensor_type.elem_type for item in read.graph.inputs]
    return precision_of((node.op_type for node in read.graph.order), elements)


def _apart(old: NDArray[np.float32], new: NDArray[np.float32]) -> dict[str, Any]:
    spread = float(np.ptp(old.astype(np.float64))) or float(np.abs(old).max(initial=0.0)) or 1.0
    difference = float(np.abs(new.astype(np.float64) - old).max(initial=0.0)) / spread
    if not np.isfinite(difference):
        raise ModelError("the copy gives logits that are no numbers on images on which the model gives some")
    # Where two logits of the model are closer than the copies are apart, either may come first.
    ordered = np.sort(old.astype(np.float64), axis=1)
    tied = ordered[:, -1] - ordered[:, -2] <= 2 * difference * spread if old.shape[1] > 1 else np.abs(old[:, 0]) == 0
    same = old.argmax(axis=1) == new.argmax(axis=1) if old.shape[1] > 1 else (old > 0)[:, 0] == (new > 0)[:, 0]
    counted = ~tied
    return {
        "difference": difference,
        "identical": bool(np.array_equal(old, new)),
        "top1_agreement": float(same[counted].mean()) if counted.any() else None,
        "images": len(old),
        "ties": int(tied.sum()),
    }


def _times(sessions: tuple[Any, Any], logits: str, feeds: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Median seconds of each, and the median of ratios of neighbouring runs with its interval.

    The two take turns at coming first. What counts is the processor's time of this thread, on which a session of one
    thread runs: whatever else the machine does is not in it.
    """
    end = time.monotonic() + seconds
    once = [_spent(session, logits, feeds, 1) for session in (*sessions, *sessions)][2:]  # the first two warm up
    loops = max(1, round(_SAMPLE / max(*once, 1e-9)))
    taken: list[tuple[float, float]] = []
    ratio = Estimate(np.nan, -np.inf, np.inf, 0)
    while len(taken) < _ROUNDS[0] or (len(taken) < _ROUNDS[1] and time.monotonic() < end):
        order = (0, 1) if len(taken) % 2 else (1, 0)
        spent = {place: _spent(sessions[place], logits, feeds, loops) for place in order}
        taken.append((spent[0], spent[1]))
        ratio = _median(np.array([after / before for before, after in taken]))
        if len(taken) >= 21 and ratio.high - ratio.low < _NARROW:
            break
    before, after = np.median(taken, axis=0)
    return {"seconds_before": float(before), "seconds_after": float(after), "ratio": asdict(ratio)}


def _median(values: NDArray[np.float64]) -> Estimate:
    """With the smallest interval of order statistics that holds the median in 95 % of all cases."""
    ordered, n = np.sort(values), len(values)
    inner = int(binom.ppf(0.025, n, 0.5))
    low, high = ordered[max(inner - 1, 0)], ordered[min(n - inner, n - 1)]
    return Estimate(float(np.median(ordered)), float(low), float(high), n)


def _spent(session: Any, logits: str, feeds: dict[str, Any], loops: int) -> float:
    """Seconds of this thread for a run."""
    start = time.thread_time()
    for _ in range(loops):
        run(session, [logits], feeds)
    return (time.thread_time() - start) / loops
