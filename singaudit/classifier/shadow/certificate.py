"""The certificate: does the shadow copy compute what the deployed model computes, and are its gradients right?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from singaudit.classifier.graph.tolerances import TOLERANCES, largest_share, precision_of
from singaudit.classifier.interface import Certificate, Precision, RuntimeMode
from singaudit.classifier.sandbox.batching import mapped
from singaudit.classifier.shadow import carriers
from singaudit.classifier.shadow.gradients import (
    COSINES,
    LARGEST_ERROR,
    Followed,
    GradientCheck,
    check_gradient,
    followed,
    run_in_batches,
    start_of,
    to_numpy,
)
from singaudit.classifier.shadow.module import ShadowCopy, shadow_copy
from singaudit.classifier.shadow.plan import UnsupportedGraphError
from singaudit.classifier.shadow.reference import MODES, Reference
from singaudit.errors import ModelError
from singaudit.machine import on_device

Array = NDArray[Any]

TOP1 = 0.99
"""Smallest allowed share of images, ties aside, with the same top class."""

_SMALL = 16_000_000
"""Weights below which a network is computed by one thread: with two, on two busy cores, the certificate of
EfficientNet-Lite0 took five times as much of them."""
_AT_ONCE = 2
"""Passes of a larger one that run side by side: two of ResNet-50 on a thread each take half of what two threads take
that share its operators. More would only take more memory."""
_COUNTED = frozenset({":If", ":Loop", ":Scan"})
"""Operators whose bodies count what they execute, one pass at a time."""
_NOISE_IMAGES = 4
_NOISE: dict[Precision, float] = {"fp32": 1e-5, "fp16": 1e-2, "int8": 0.0}
# How much outputs must vary between images, as a share of the largest, for that to be compared. What varies by less is
# a sum's order of rounding, which two executors do not share. In int8 it is what has to be found out.


def certify(
    model: onnx.ModelProto | str | os.PathLike[str],
    shadow: ShadowCopy | None = None,
    inputs: Array | None = None,
    seed: int = 0,
    device: str = "cpu",
    gradients: int | None = None,
    outputs: Sequence[str] | None = None,
    modes: Sequence[RuntimeMode] = MODES,
    opened: Mapping[RuntimeMode, Any] | None = None,
) -> Certificate:
    """Compare a shadow copy with ONNX Runtime on the CPU: values, top classes, gradients.

    model: the deployed model; shadow: its copy, made here where None. inputs: preprocessed images (n, ...) of the
    input's declared type; None means standard normal noise, which needs every size but the batch's to be declared.
    seed: of noise and of the gradient check's directions. device: where a copy made here runs, in torch's words.
    gradients: on how many images the gradient is checked; None: four. Where given, values of a float32 network are
    compared at the same points, a thousandth of the images' deviation away from the first of them. outputs: names of
    the tensors that are compared, of a copy made here; None means the graph's outputs. modes: of ONNX Runtime, that the
    copy is compared with; opened: sessions of the model in some of them, which are opened here otherwise.

    Returns a certificate; raises ModelError where the inputs do not fit or ONNX Runtime cannot run the model at all.
    """
    if shadow is None:
        try:
            shadow = on_device(shadow_copy(model, outputs, mapped=True), device)
        except UnsupportedGraphError as error:
            return _unsupported(error, inputs)
    with _shares_of(shadow) as workers:
        names = shadow.output_names, shadow.input_names
        reference = Reference(model, *names, shadow.batch, modes, opened)
        return _certified(shadow, reference, inputs, seed, gradients, workers)


def _certified(
    shadow: ShadowCopy, reference: Reference, inputs: Array | None, seed: int, gradients: int | None, workers: int
) -> Certificate:
    precision = precision_of(shadow.plan.operators, shadow.plan.stored | {item.element for item in shadow.plan.inputs})
    generator = np.random.default_rng(seed)
    images = _noise(shadow, generator) if inputs is None else np.asarray(inputs)
    start = start_of(images, shadow.batch, generator, gradients)
    shared = 0
    if start is not None and gradients is not None and precision == "fp32" and images.dtype == np.float32:
        # Of few images, the passes that the gradient is taken of are among those whose values are compared.
        shared, images = len(start.images), np.concatenate([start.images, images[len(start.images) :]])
    passes: list[Callable[[], Any]] = [partial(_copied, shadow, images, shared, gradients)]
    passes += [partial(reference.run, mode, images) for mode in reference.modes]
    (copied, kept), *found = mapped(lambda call: call(), passes, workers)
    values: dict[RuntimeMode, list[Array]] = dict(zip(reference.modes, found, strict=True))
    differences: dict[RuntimeMode, float | None] = {
        mode: largest_share(copied, theirs) for mode, theirs in values.items()
    }
    best = min(reference.modes, key=lambda mode: differences[mode] or 0.0)
    difference = differences[best]
    agreement = _top1(copied[0], values[best][0], TOLERANCES[precision])
    check = None
    if start is not None:
        followable = kept or followed(shadow, start.images)
        check = check_gradient(shadow, start, followable, copied[0].shape[1:], generator, gradients, workers)
    with torch.no_grad(), carriers.without_rounding():
        smooth = to_numpy(run_in_batches(shadow, images, gradients)[0]) if precision == "int8" else copied[0]
    correlation = _correlation(smooth, values[best][0], _NOISE[precision])
    reason = _verdict(precision, difference, agreement, check, correlation)
    if difference is None or not difference <= TOLERANCES[precision]:
        reason += f"; {_against_float64(shadow, images, copied, values)}"
    return Certificate(
        status="failed" if reason else "passed",
        precision=precision,
        tolerance=TOLERANCES[precision],
        max_logit_difference=difference,
        difference_unoptimised=differences.get("unoptimised"),
        difference_optimised=differences.get("optimised"),
        top1_agreement=agreement,
        gradient_cosine=None if check is None else check.cosine,
        ran_on=_ran_on(inputs),
        reason=reason,
    )


def _copied(shadow: ShadowCopy, images: Array, kept: int, at_once: int | None) -> tuple[list[Array], list[Followed]]:
    """The copy's outputs for images (n, ...), and its passes over the first ``kept`` of them, to be followed back."""
    passes = list(followed(shadow, images[:kept]))
    with torch.no_grad():
        parts = [[value[: one.counted] for value in one.outputs] for one in passes]
        if kept < len(images):
            parts.append(run_in_batches(shadow, images[kept:], at_once))
        return [to_numpy(torch.cat(items)) for items in zip(*parts, strict=True)], passes


@contextmanager
def _shares_of(shadow: ShadowCopy) -> Iterator[int]:
    """How many passes run at once, and for each meanwhile its share of the threads: one, where a network is small."""
    before = torch.get_num_threads()
    small = sum(buffer.numel() for buffer in shadow.buffers()) < _SMALL
    alone = small or bool(shadow.plan.kinds & _COUNTED) or any(b.device.type != "cpu" for b in shadow.buffers())
    workers = 1 if alone else min(_AT_ONCE, before)
    torch.set_num_threads(1 if small else before // workers)
    try:
        yield workers
    finally:
        torch.set_num_threads(before)


def _unsupported(error: UnsupportedGraphError, inputs: Array | None) -> Certificate:
    return Certificate(
        status="unsupported",
        precision=None,
        tolerance=None,
        max_logit_difference=None,
        difference_unoptimised=None,
        difference_optimised=None,
        top1_agreement=None,
        gradient_cosine=None,
        ran_on=_ran_on(inputs),
        unsupported=error.problems,
        reason="the graph holds operators, attributes or types that the copy does not implement",
    )


def _ran_on(inputs: Array | None) -> str:
    return "noise" if inputs is None else f"{len(inputs)} probe images"


def _verdict(
    precision: Precision,
    difference: float | None,
    agreement: float | None,
    check: GradientCheck | None,
    correlation: float | None,
) -> str:
    """Return why the copy does not pass, "" where it does."""
    reasons, least = [], COSINES[precision]
    if difference is None or not difference <= TOLERANCES[precision]:
        reasons.append(f"outputs differ by {difference} of their range (allowed: {TOLERANCES[precision]})")
    if agreement is not None and agreement < TOP1:
        reasons.append(f"top classes agree on {agreement:.1%} of images (required: {TOP1:.0%})")
    if check is not None and not check.cosine > least:
        reasons.append(f"gradients agree to a cosine of {check.cosine:.4f} (required: {least})")
    elif check is not None and not check.error <= LARGEST_ERROR:
        reasons.append(f"gradients are wrong by {check.error:.1%} of their length (allowed: {LARGEST_ERROR:.0%})")
    if correlation is not None and correlation < least:
        # In int8 the gradient is that of the graph without rounding, which must then tell what the model does.
        whose = "the graph's outputs without its rounding" if precision == "int8" else "the copy's outputs"
        reasons.append(
            f"{whose} vary otherwise between images than the model's (correlation {correlation:.3f}, required: "
            f"{least}), so that the gradient says little about the model"
        )
    return "; ".join(reasons)


def _noise(shadow: ShadowCopy, generator: np.random.Generator) -> Array:
    """Standard normal images for the only input; whole numbers in 0-255 where it takes integers."""
    if len(shadow.plan.inputs) != 1:
        raise ModelError(
            f"The graph takes {len(shadow.plan.inputs)} inputs; a certificate needs exactly one.",
            hint="Export the image classifier alone.",
        )
    declared = shadow.plan.inputs[0]
    if declared.shape is None or any(size is None for size in declared.shape[1:]):
        raise ModelError(
            f"Input {declared.name} has no fixed size, so no noise of its shape can be made.",
            hint="State the size (--preprocess size=HxW) or give probe images.",
        )
    shape = (max(declared.shape[0] or 0, _NOISE_IMAGES), *(int(size or 1) for size in declared.shape[1:]))
    if carriers.is_integer(declared.element):
        return generator.integers(0, 256, shape).astype(_dtype(declared.element))
    return generator.standard_normal(shape).astype(_dtype(declared.element))


def _dtype(element: int) -> np.dtype[Any]:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element))


def in_float64(shadow: ShadowCopy, images: Array) -> list[Array]:
    """The outputs of a copy for images (n, ...), computed in float64 throughout."""
    with torch.no_grad():
        return [to_numpy(value) for value in run_in_batches(shadow.in_float64(), images)]


def _against_float64(
    shadow: ShadowCopy, images: Array, copied: Sequence[Array], values: Mapping[RuntimeMode, Sequence[Array]]
) -> str:
    """Say how far each side is from the graph evaluated in float64: whose inaccuracy a difference is."""
    exact = in_float64(shadow, images)
    sides: list[tuple[str, Sequence[Array]]] = [("copy", copied), *values.items()]
    distances = (f"{largest_share(outputs, exact):.3g} ({side})" for side, outputs in sides)
    return f"distance from the copy in float64: {', '.join(distances)}"


def _correlation(ours: Array, theirs: Array, noise: float) -> float | None:
    """Correlation of what two sets of outputs vary by between images; None where that is noise or there is one image.

    Each output's mean over the images is taken away first: where outputs hardly depend on the image, what they have in
    common would hide that the two have nothing else in common.
    """
    theirs = theirs.astype(np.float64)
    if len(theirs) < 2 or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        return None
    a, b = ours - ours.mean(0), theirs - theirs.mean(0)
    if float(np.abs(b).max()) <= noise * float(np.abs(theirs).max()):
        return None
    return float((a * b).sum() / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-300))


def _top1(ours: Array, theirs: Array, tolerance: float) -> float | None:
    """Return the share of rows with the same largest entry; rows whose two best are closer than half the tolerance
    (as a share of the range) count as ties and are left out."""
    if theirs.ndim < 2 or theirs.shape[-1] < 2:
        return None
    ours, theirs = ours.reshape(-1, ours.shape[-1]), theirs.reshape(-1, theirs.shape[-1]).astype(np.float64)
    best = np.sort(theirs, axis=1)
    clear = best[:, -1] - best[:, -2] > tolerance / 2 * np.ptp(theirs)
    if not clear.any():
        return 1.0
    return float((ours.argmax(1) == theirs.argmax(1))[clear].mean())
