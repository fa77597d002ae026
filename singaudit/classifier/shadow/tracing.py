"""Computes the values that depend on input shapes alone, without touching any data.

A dry run on torch's ``meta`` device, which computes shapes only, finds them; it also refuses tensors beyond the size
limit before any memory is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from singaudit.classifier.shadow import carriers, limits
from singaudit.classifier.shadow.plan import Plan
from singaudit.classifier.shadow.program import Step, to_host
from singaudit.errors import ModelError
from singaudit.without_compiler import never_compiled, with_shapes


class _Unknown:
    """A value that a dry run cannot follow."""


_UNKNOWN = _Unknown()


def shape_values(plan: Plan, shape_steps: frozenset[int], values: Sequence[Any]) -> dict[str, Tensor] | None:
    """Return the values, on the CPU, of all steps that depend on shapes alone, for inputs of these shapes.

    Raises ModelError where some tensor would exceed the size limit. Where an operator has no ``meta`` kernel and a
    shape is needed beyond it, the steps are executed on the inputs themselves; None where those are on ``meta``.
    """
    # Quantisers also quantise sizes and pads: those round as in the model whatever is left out now, and they follow
    # from the constants of the plan, which stay in float32.
    with carriers.without_rounding(False), carriers.in_float64(False):
        meta = {name: _on_meta(value) for name, value in zip(plan.input_values, values, strict=True)}
        with never_compiled():
            computed = _follow(plan, shape_steps, meta, on_meta=True)
        if computed is None and not any(isinstance(value, Tensor) and value.is_meta for value in values):
            real = dict(zip(plan.input_values, values, strict=True))
            computed = _follow(plan, shape_steps, real, on_meta=False)
            assert computed is not None
    return computed


def _on_meta(value: Any) -> Any:
    return _like(value, value.dtype) if isinstance(value, Tensor) else _UNKNOWN


def _follow(plan: Plan, shape_steps: frozenset[int], values: dict[str, Any], on_meta: bool) -> dict[str, Tensor] | None:
    """Execute all steps, data on ``meta`` or for real, shape values on the CPU; None where a shape got lost."""
    computed: dict[str, Tensor] = {}
    device = (
        torch.device("meta") if on_meta else next((v.device for v in values.values() if isinstance(v, Tensor)), None)
    )
    for index, step in enumerate(plan.steps):
        pure = index in shape_steps
        arguments = [_argument(plan, step, i, values, computed, pure, device) for i in range(len(step.inputs))]
        if any(argument is _UNKNOWN for argument in arguments):
            if pure:
                return None
            values.update(dict.fromkeys(step.outputs, _UNKNOWN))
            continue
        try:
            result = _on_meta_called(step, arguments) if on_meta and not pure else step.kernel(*arguments)
        except (NotImplementedError, RuntimeError, ValueError, TypeError, IndexError) as error:
            if isinstance(error, ModelError) or not on_meta or pure:
                error.add_note(f"in the graph's node {step.label}")
                raise
            values.update(dict.fromkeys(step.outputs, _UNKNOWN))
            continue
        results = result if isinstance(result, tuple) else (result,)
        for name, item in zip(step.outputs, results, strict=False):
            if isinstance(item, Tensor):
                limits.check_elements(item.shape, step.label)
            if pure and isinstance(item, Tensor):
                computed[name] = item
            else:
                values[name] = item if isinstance(item, Tensor) or not on_meta else _UNKNOWN
    return computed


def _on_meta_called(step: Step, arguments: Sequence[Any]) -> Any:
    kept = _kept(step, arguments[0]) if arguments else None
    if kept is not None:
        return kept
    try:
        return step.kernel(*arguments)
    except NotImplementedError:
        if not with_shapes():
            raise
        return step.kernel(*arguments)


def _kept(step: Step, value: Any) -> Tensor | None:
    """What a step gives on ``meta`` that keeps the shape of its first input, ``value``; None where it must be called.

    Most activations and norms are computed there by functions in Python: four fifths of a dry run.
    """
    if not step.keeps or not isinstance(value, Tensor) or any(step.outputs[1:]):
        return None
    return _like(value, torch.float32 if step.keeps == "shape" else value.dtype)


def _like(value: Tensor, dtype: torch.dtype) -> Tensor:
    # Not by ``empty_like``, which torch computes on ``meta`` in Python.
    return torch.empty(value.shape, dtype=dtype, device="meta")


def _argument(
    plan: Plan,
    step: Step,
    index: int,
    values: dict[str, Any],
    computed: dict[str, Tensor],
    pure: bool,
    device: torch.device | None,
) -> Any:
    """Return one argument of a step: host values as Python, others where the step runs."""
    name = step.inputs[index]
    if not name:
        return None
    known = computed.get(name, plan.constants.get(name))
    if index in step.host:
        if known is not None:
            return to_host(known)
        value = values[name]
        if isinstance(value, Tensor) and value.device.type == "meta":
            return _UNKNOWN
        return to_host(value)
    if known is None:
        value = values[name]
        if pure and isinstance(value, Tensor) and value.device.type != "meta":
            return value
        return value
    if pure or device is None:
        return known
    return _like(known, known.dtype) if device.type == "meta" else known.to(device)
