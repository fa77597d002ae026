"""Control flow (ONNX operator specification: If, Loop, Scan).

A subgraph is a callable from its formal inputs and the values it captures from around it; the plan appends captured
values to the node's own inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from singaudit.classifier.shadow import limits
from singaudit.classifier.shadow.operators.registry import Kernel, Site, Unsupported, operator
from singaudit.errors import ModelError


def _returned(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)


@operator(
    "If",
    attributes=("then_branch", "else_branch"),
    host=(0,),
    data_shape=True,
    types=lambda site: site.body_outputs["then_branch"],
)
def if_(site: Site) -> Kernel:
    """Run one of two subgraphs."""
    then, otherwise = site.bodies["then_branch"], site.bodies["else_branch"]

    def run(condition: Any, *captured: Any) -> Any:
        chosen = condition[0] if isinstance(condition, list) else condition
        return _returned((then if chosen else otherwise)([], captured))

    return run


def _loop_types(site: Site) -> tuple[int, ...]:
    return site.body_outputs["body"][1:]


@operator("Loop", attributes=("body",), host=(0, 1), data_shape=True, types=_loop_types)
def loop(site: Site) -> Kernel:
    """Run a subgraph a number of times or until its condition fails; extra outputs are stacked."""
    body, carried_count = site.bodies["body"], site.explicit - 2
    trips = site.constants[0] if site.constants else None
    if trips is not None and int(trips) > limits.MAX_LOOP_STEPS and (not site.has(1) or site.constants[1] is not None):
        raise Unsupported(f"a loop of {int(trips)} steps; the limit is {limits.MAX_LOOP_STEPS}")

    def run(trip: Any, condition: Any, *values: Any) -> Any:
        count = trip[0] if isinstance(trip, list) else trip
        go = True if condition is None else bool(condition[0] if isinstance(condition, list) else condition)
        carried, captured = list(values[:carried_count]), values[carried_count:]
        device = next((v.device for v in values if isinstance(v, Tensor)), torch.device("cpu"))
        stacks: list[list[Tensor]] = [[] for _ in range(len(site.body_outputs["body"]) - 1 - carried_count)]
        step = 0
        while go and (count is None or step < count):
            number = torch.tensor(step, dtype=torch.int64, device=device)
            outputs = body([number, torch.tensor(True, device=device), *carried], captured)
            go = bool(outputs[0])
            carried = outputs[1 : 1 + carried_count]
            for stack, value in zip(stacks, outputs[1 + carried_count :], strict=True):
                stack.append(value)
            step += 1
        if not step and stacks:
            raise ModelError("A Loop that runs zero times has outputs of unknown shape.")
        return _returned([*carried, *(torch.stack(stack) for stack in stacks)])

    return run


_SCAN = (
    "body",
    "num_scan_inputs",
    "scan_input_axes",
    "scan_input_directions",
    "scan_output_axes",
    "scan_output_directions",
)


def _scan_types(site: Site) -> tuple[int, ...]:
    return site.body_outputs["body"]


@operator("Scan", 8, attributes=("body", "num_scan_inputs", "directions"), data_shape=True, types=_scan_types)
def scan_batched(site: Site) -> Kernel:
    """Refused: opset 8's batched form, which no exporter in use writes."""
    raise Unsupported("the batched form of opset 8")


@operator("Scan", 9, attributes=_SCAN, data_shape=True, types=_scan_types)
def scan(site: Site) -> Kernel:
    """Run a subgraph over slices of its last inputs, carrying state; outputs of each step are stacked."""
    body, scanned = site.bodies["body"], site.need("num_scan_inputs")
    states = site.explicit - scanned
    results = len(site.body_outputs["body"]) - states
    in_axes = site.get("scan_input_axes") or [0] * scanned
    in_directions = site.get("scan_input_directions") or [0] * scanned
    out_axes = site.get("scan_output_axes") or [0] * results
    out_directions = site.get("scan_output_directions") or [0] * results

    def run(*values: Any) -> Any:
        state, sequences = list(values[:states]), values[states : states + scanned]
        captured = values[states + scanned :]
        length = sequences[0].shape[in_axes[0]]
        stacks: list[list[Tensor]] = [[] for _ in range(results)]
        for step in range(length):
            slices = [
                x.select(axis, length - 1 - step if backwards else step)
                for x, axis, backwards in zip(sequences, in_axes, in_directions, strict=True)
            ]
            outputs = body([*state, *slices], captured)
            state = outputs[:states]
            for stack, value in zip(stacks, outputs[states:], strict=True):
                stack.append(value)
        if not length and results:
            raise ModelError("A Scan over an empty sequence has outputs of unknown shape.")
        stacked = [
            torch.stack(stack[::-1] if backwards else stack, axis)
            for stack, axis, backwards in zip(stacks, out_axes, out_directions, strict=True)
        ]
        return _returned([*state, *stacked])

    return run
