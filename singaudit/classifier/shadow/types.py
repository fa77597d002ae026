"""Element types of values, from the operators' own rules or the ONNX schemas."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto

from singaudit.classifier.shadow.operators.registry import Operator, Site

_NAMES = {
    "float": TensorProto.FLOAT,
    "double": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "bool": TensorProto.BOOL,
    "string": TensorProto.STRING,
    **{
        f"{sign}int{bits}": TensorProto.DataType.Value(f"{sign}int{bits}".upper())
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}


def output_types(operator: Operator, site: Site) -> tuple[int, ...]:
    """Return the element type of each output of a node, 0 where nothing determines it."""
    if operator.types is not None:
        return operator.types(site)
    try:
        schema = onnx.defs.get_schema(site.kind, site.version, operator.domain)
    except onnx.defs.SchemaError:
        return (0,) * len(site.wanted)
    bound: dict[str, int] = {}
    for index, element in enumerate(site.input_types[: site.explicit]):
        # A variadic last parameter takes all remaining inputs.
        formal = schema.inputs[min(index, len(schema.inputs) - 1)]
        if element > 0:
            bound.setdefault(formal.type_str, element)
    return tuple(_result(schema, index, bound) for index in range(len(site.wanted)))


def _result(schema: onnx.defs.OpSchema, index: int, bound: dict[str, int]) -> int:
    text = schema.outputs[min(index, len(schema.outputs) - 1)].type_str
    if text in bound:
        return bound[text]
    allowed: Sequence[str] = next(
        (c.allowed_type_strs for c in schema.type_constraints if c.type_param_str == text), [text]
    )
    concrete = {_NAMES[name[7:-1]] for name in allowed if name.startswith("tensor(") and name[7:-1] in _NAMES}
    if len(allowed) == len(concrete) == 1:
        return int(next(iter(concrete)))
    # A sequence of tensors takes the type of the tensors it was made of.
    return next(iter(bound.values()), 0) if text.startswith("seq(") or any(a.startswith("seq(") for a in allowed) else 0
