"""The shadow copy itself: a torch module that executes a plan, differentiably."""

from __future__ import annotations

import copy
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import torch
from torch import Tensor, nn

from singaudit.classifier.graph.external_data import settle
from singaudit.classifier.shadow import carriers
from singaudit.classifier.shadow.inputs import accept, narrowed, of_declared_shape
from singaudit.classifier.shadow.plan import Plan
from singaudit.classifier.shadow.planner import make_plan
from singaudit.classifier.shadow.program import Program, depends_on_shapes, used_by
from singaudit.classifier.shadow.tracing import shape_values
from singaudit.errors import ModelError, SingauditError, UnsupportedModelError, short
from singaudit.machine import memory_ran_out

_CACHED_SHAPES = 16
# Programs kept, and values of shapes, one per combination of input shapes; the oldest goes first.
_PREPARING = threading.RLock()
# Held while a program is made: passes that run at once wait for the first.


class _Prepared(NamedTuple):
    """A program for one combination of input shapes, and the values that depend on those alone."""

    program: Program
    cached: tuple[Any, ...]


class ShadowCopy(nn.Module):
    """An ONNX graph as a torch module; made by ``shadow_copy``.

    Called with one tensor per graph input, in order, it returns a tuple with one tensor per requested output.
    Weights are buffers: ``.to(device)`` moves them, and gradients reach the inputs only. Values that depend on shapes
    alone are computed once per input shape, everything else is freed after its last use.
    """

    def __init__(self, plan: Plan) -> None:
        """Take a plan's constants as buffers and compile its program."""
        super().__init__()
        self.plan = plan
        self._shape_steps = depends_on_shapes(plan.steps, plan.constants, plan.input_values)
        self._moving = tuple(step for index, step in enumerate(plan.steps) if index not in self._shape_steps)
        tensors, host = used_by(self._moving, plan.outputs)
        self._host = {name: plan.constants[name].tolist() for name in host if name in plan.constants}
        # Dots in buffer names mean submodules; numbers are unambiguous.
        self._buffer_of: dict[str, str] = {}
        for name in plan.constants:
            if name in tensors:
                self._buffer_of[name] = f"constant_{len(self._buffer_of)}"
                self.register_buffer(self._buffer_of[name], plan.constants[name])
        self._cached_names = tuple(
            name
            for index in sorted(self._shape_steps)
            for name in plan.steps[index].outputs
            if name and name in tensors | host
        )
        self._prepared: OrderedDict[tuple[Any, ...], _Prepared] = OrderedDict()
        self._shaped: OrderedDict[tuple[Any, ...], Mapping[str, Tensor]] = OrderedDict()
        self._wide = False
        # Where the graph declares every size, what depends on sizes is constant, and torch.compile sees one graph.
        folded = self._fold() if self._cached_names else {}
        self._settled = bool(folded)
        self._fixed = None if self._cached_names else _Prepared(self._compile(folded), ())

    def _fold(self) -> dict[str, Any]:
        """Make buffers of the values that depend on shapes, where those are declared; return them as Python values."""
        inputs = [of_declared_shape(item) for item in self.plan.inputs]
        if any(value is None for value in inputs):
            return {}
        with torch.no_grad():
            computed = shape_values(self.plan, self._shape_steps, inputs)
        if computed is None:
            return {}
        for name in self._cached_names:
            self._buffer_of[name] = f"constant_{len(self._buffer_of)}"
            self.register_buffer(self._buffer_of[name], computed[name])
        host = {name: computed[name].tolist() for name in self._cached_names}
        self._cached_names = ()
        return host

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in the order ``forward`` takes them."""
        return tuple(item.name for item in self.plan.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the tensors that ``forward`` returns, in order."""
        return self.plan.output_names

    @property
    def batch(self) -> int | None:
        """Declared batch size of the first input, None where it is dynamic."""
        shape = self.plan.inputs[0].shape if self.plan.inputs else None
        return shape[0] if shape else None

    def forward(self, *inputs: Tensor) -> tuple[Any, ...]:
        """Execute the graph.

        inputs: one tensor per graph input, of the declared element type and shape (half-precision inputs are widened
        to float32, in which fp16 graphs run; 8-bit pixels may come as whole numbers in float32, which gradients then
        reach). Returns one value per output: half floats in float32, integers from
        quantisation operators as whole numbers in float32, sequences as lists. Raises ModelError where an input's
        number, type or shape is not what the graph declares.

        A quantised graph gives its own values, with the gradient of the same graph without its rounding of activations
        (clipping stays). Gradients taken at rounded activations meet each kink at another place than that function
        does: over the depth of an EfficientNet they agreed with its differences to a cosine of 0.5 to 0.8 only.

        After ``.double()`` everything that is float32 above is float64. A graph that contradicts itself, so that an
        operator cannot take what another gives, raises ModelError with torch's reason.
        """
        if torch.compiler.is_compiling():
            return self._in_width(*inputs)
        with _contradictions_told():
            return self._in_width(*inputs)

    def _in_width(self, *inputs: Tensor) -> tuple[Any, ...]:
        if self._wide:
            with carriers.in_float64():
                return self._forward(*inputs)
        return self._forward(*inputs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ShadowCopy:
        """Move or convert the buffers; kernels are told whether float32 became float64."""
        dtype = fn(torch.zeros((), dtype=torch.float32)).dtype
        if dtype not in (torch.float32, torch.float64):
            raise ModelError(
                f"A copy computes in float32 or float64, not in {dtype}.", hint="Use .float() or .double()."
            )
        super()._apply(fn, recurse)
        self._wide = dtype == torch.float64
        self._prepared.clear()
        return self

    def in_float64(self) -> ShadowCopy:
        """Return a copy of this one that computes in float64; this one stays as it is.

        They share their weights, each of which is widened when it is read: all at once would take twice the model's
        memory, and new memory is what costs a system most.
        """
        twin = copy.copy(self)
        twin._buffers, twin._prepared, twin._wide = dict(self._buffers), OrderedDict(), True
        return twin

    def _forward(self, *inputs: Tensor) -> tuple[Any, ...]:
        plan = self.plan
        if len(inputs) != len(plan.inputs):
            raise ModelError(
                f"The graph takes {len(plan.inputs)} inputs; {len(inputs)} arrived.",
                hint=f"Pass one tensor for each of {', '.join(self.input_names)}, in this order.",
            )
        values = [accept(tensor, item) for tensor, item in zip(inputs, plan.inputs, strict=True)]
        if (
            plan.quantises
            and torch.is_grad_enabled()
            and any(isinstance(v, Tensor) and v.requires_grad for v in values)
        ):
            with torch.no_grad():
                shown = self._run(values)
            with carriers.without_rounding():
                smooth = self._run(values)
            return tuple(_shown_as(real, value) for real, value in zip(smooth, shown, strict=True))
        return self._run(values)

    def _run(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Execute the program on accepted inputs."""
        self.plan.budget.spent = 0
        prepared = self._fixed
        if prepared is None or not torch.compiler.is_compiling():
            prepared = self._prepare(values)
        device = next((v.device for v in values if isinstance(v, Tensor)), self._device())
        buffers = self._buffers
        constants = [buffers[key] for key in self._buffer_of.values()]
        return tuple(prepared.program.run([*values, *constants, *prepared.cached], device, self._wide))

    def _device(self) -> torch.device:
        return next((b.device for b in self._buffers.values() if b is not None), torch.device("cpu"))

    def _compile(self, host: Mapping[str, Any]) -> Program:
        inputs = [*self.plan.input_values, *self._buffer_of, *self._cached_names]
        return Program(self._moving, inputs, self.plan.outputs, {**self._host, **host})

    def _prepare(self, values: Sequence[Any]) -> _Prepared:
        """Return the program for these shapes; at the first sight of them, check sizes and compute shape values."""
        if self._settled and self._fixed is not None:
            return self._fixed
        key = tuple((tuple(v.shape), v.device) if isinstance(v, Tensor) else None for v in values)
        found = self._prepared.get(key)
        if found is not None:
            return found
        with _PREPARING:
            return self._prepared.get(key) or self._prepare_for(key, values)

    def _prepare_for(self, key: tuple[Any, ...], values: Sequence[Any]) -> _Prepared:
        with torch.inference_mode(False), torch.no_grad():
            # Within inference mode, cached tensors could never take part in a gradient later.
            computed = self._of_shapes(values)
            if self._fixed is not None:
                found = self._fixed
            else:
                device = next((v.device for v in values if isinstance(v, Tensor)), self._device())
                cached = tuple(_moved(computed[name], device) for name in self._cached_names)
                host = {name: computed[name].tolist() for name in self._cached_names}
                found = _Prepared(self._compile(host), cached)
        _keep(self._prepared, key, found)
        return found

    def _of_shapes(self, values: Sequence[Any]) -> Mapping[str, Tensor]:
        """What follows from the shapes alone, whatever the device and the width: a twin in float64 asks no more."""
        key = tuple(tuple(v.shape) if isinstance(v, Tensor) else None for v in values)
        if key not in self._shaped:
            found = shape_values(self.plan, self._shape_steps, narrowed(values, self.plan.inputs)) or {}
            _keep(self._shaped, key, found)
        return self._shaped[key]

    # What torch.compiler.disable sets; calling that imports the compiler, which takes longer than torch itself.
    _prepare._torchdynamo_disable = True  # type: ignore[attr-defined]


def _keep(kept: OrderedDict[tuple[Any, ...], Any], key: tuple[Any, ...], found: Any) -> None:
    kept[key] = found
    if len(kept) > _CACHED_SHAPES:
        kept.popitem(last=False)


def _moved(value: Tensor, device: torch.device) -> Tensor:
    return value.to(device, carriers.working(value.dtype))


def _shown_as(real: Any, shown: Any) -> Any:
    """The second value with the gradient of the first, where both are tensors of one floating shape."""
    fits = isinstance(real, Tensor) and isinstance(shown, Tensor) and real.is_floating_point()
    return carriers.straight_through(real, shown) if fits and real.shape == shown.shape else shown


def shadow_copy(
    model: onnx.ModelProto | str | os.PathLike[str], outputs: Sequence[str] | None = None, mapped: bool = False
) -> ShadowCopy:
    """Copy an ONNX model into a differentiable torch module.

    model: a ModelProto, which is left untouched, or the path of a file (with its external data beside it).
    outputs: names of the tensors to return instead of the graph's outputs, intermediate ones included.
    mapped: whether weights of external data may stay in their file, which then has to stay as it is as long as the
    copy lives; reading large ones takes as long as a pass.

    Raises UnsupportedModelError (a NotImplementedError) that lists every unsupported operator, attribute and type
    before anything runs, and ModelError for files that cannot be read, contradict themselves or exceed the static
    limits.
    """
    base: Path | None = None
    if not isinstance(model, onnx.ModelProto):
        path = Path(model)
        try:
            model = onnx.load(str(path), load_external_data=False)
        except Exception as error:  # protobuf and the file system raise many kinds
            raise ModelError(f"{path.name} cannot be read as an ONNX model: {error}") from error
        base = settle(model, path.parent.resolve())
    # Weights made within inference mode could never take part in a gradient.
    with torch.inference_mode(False), _contradictions_told():
        return ShadowCopy(make_plan(model, base, outputs, mapped)).eval()


@contextmanager
def _contradictions_told() -> Iterator[None]:
    """A graph whose operators cannot take what others give: raises ModelError with what torch or Python says of it.

    What torch lacks for an element type, such as bits of pixels in floats, is UnsupportedModelError.
    """
    try:
        yield
    except SingauditError:
        raise
    except (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AssertionError) as error:
        if memory_ran_out(error):
            raise
        reason = short(error) or type(error).__name__
        if isinstance(error, NotImplementedError):
            raise UnsupportedModelError(f"torch cannot compute this graph: {reason}") from error
        raise ModelError(
            f"The graph contradicts itself: {reason} ({type(error).__name__})",
            hint="Run it once with onnxruntime, and export it again.",
        ) from error
