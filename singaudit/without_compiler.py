"""Libraries imported without torch's compiler, which singaudit never uses.

torchvision, timm and transformers import it for a function or a decorator that eager execution has no use for, and with
it sympy and a thousand modules more: longer than torch and the library itself take.
"""

from __future__ import annotations

import functools
import gc
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_DRAWN = ("normal_", "uniform_", "random_", "bernoulli_", "exponential_", "erfinv_")
"""How functions end that fill a tensor with random numbers; the last shapes those of a truncated normal."""
_PUT_OFF = {
    "torch._dynamo.utils": ["is_compile_supported"],
    "torch._dynamo._trace_wrapped_higher_order_op": ["TransformGetItemToIndex"],
    "transformers.generation.continuous_batching": ["PagedAttentionCache"],
    "transformers.generation.continuous_batching.cache": ["PagedAttentionCache"],
}
"""Modules, and what the libraries import of them; the last two are the type of an argument, beside the compiler."""
_SHAPES = ("torch.distributed._meta_registrations", "torch._meta_registrations")
"""What torch computes in Python of shapes alone, imported with it, on the meta device."""
_ALGEBRA = "sympy"
_SYMBOLIC = "torch.fx.experimental.symbolic_shapes"
_OF_NUMBERS: dict[str, Callable[..., Any]] = {
    "expect_true": bool,
    "guard_or_false": bool,
    "guard_or_true": bool,
    "guard_size_oblivious": bool,
    "statically_known_true": bool,
    "guarding_hint_or_throw": lambda size: size,
    "guard_int": lambda size: size,
    "has_guarding_hint": lambda size: True,
    "is_nested_int": lambda size: False,
    "sym_and": lambda *terms: all(terms),
    "sym_or": lambda *terms: any(terms),
    "sym_eq": lambda a, b: tuple(a) == tuple(b) if isinstance(a, tuple | list) else a == b,
}
"""What torch asks of its symbolic algebra, which comes with sympy, and the answer where all sizes are numbers."""


class _Deferred(ModuleType):
    """Stands for a module that is imported as soon as anything of it is asked for that was not put off."""

    def __init__(self, name: str, names: Sequence[str]) -> None:
        super().__init__(name, "Not imported yet.")
        for one in names:
            setattr(self, one, _later(name, one))

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return getattr(_imported(self.__name__), attribute)


_ABSENT = _Deferred(_COMPILER, ())


def _later(module: str, name: str) -> type:
    """A class in place of a function or class of a module: what it is called with goes to the real one."""

    def call(_: type, *arguments: Any, **named: Any) -> Any:
        return getattr(_imported(module), name)(*arguments, **named)

    return type(name, (), {"__module__": module, "__new__": call})


class _Expression:
    """What torch asks whether a size is, as long as nobody can have made one."""


def _of_numbers(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """A function of symbolic algebra that needs none for numbers, and tuples of them."""

    def call(*arguments: Any, **named: Any) -> Any:
        if not named and all(_is_number(argument) for argument in arguments):
            return plain(*arguments)
        return getattr(_imported(_SYMBOLIC), name)(*arguments, **named)

    return call


def _is_number(argument: Any) -> bool:
    if isinstance(argument, tuple | list):
        return all(_is_number(item) for item in argument)
    return type(argument) in (bool, int)


def _imported(name: str) -> ModuleType:
    _forget(*((_ALGEBRA, _SYMBOLIC) if name in (_ALGEBRA, _SYMBOLIC) else ()))
    return importlib.import_module(name)


def _forget(*names: str) -> None:
    """Take the stand-ins of these names out of the way; of all names where none is given."""
    for name in [name for name, module in sys.modules.items() if isinstance(module, _Deferred)]:
        if not names or name in names:
            del sys.modules[name]


def import_torch() -> ModuleType:
    """torch, without what it computes of shapes in Python, a fifth of its import: ``with_shapes`` brings that.

    For a process of our own; whatever else imports those modules gets them.
    """
    if "torch" not in sys.modules:
        put_off = {name: _Deferred(name, ()) for name in _SHAPES}
        sys.modules.update(put_off)
        try:
            importlib.import_module("torch")
        finally:
            for name, module in put_off.items():
                parent, _, last = name.rpartition(".")
                if sys.modules.get(name) is module:
                    del sys.modules[name]
                if vars(sys.modules.get(parent, module)).get(last) is module:
                    delattr(sys.modules[parent], last)
    return importlib.import_module("torch")


def with_shapes() -> bool:
    """Import what ``import_torch`` left out; whether there was anything."""
    missing = [name for name in _SHAPES if name not in sys.modules and importlib.util.find_spec(name)]
    for name in missing:
        importlib.import_module(name)
    return bool(missing)


@contextmanager
def uncollected() -> Iterator[None]:
    """Python looks for no cycles meanwhile, nor ever again in what was made until the end.

    Imported libraries stay: they would be looked through again and again, and once more when the process ends.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if before:
            gc.enable()


def _loaded() -> bool:
    return not isinstance(sys.modules.get(_COMPILER, _ABSENT), _Deferred)


def _left_alone(fn: Any, *settings: Any, **named: Any) -> Any:
    """What the compiler's disable does."""
    return importlib.import_module(_COMPILER).disable(fn, *settings, **named)


def _constant(fn: Any) -> Any:
    """What the compiler's assume_constant_result does."""
    fn._dynamo_marked_constant = True
    return fn


def _once_loaded(real: Callable[..., Any]) -> Callable[..., Any]:
    """The decorator ``real``, which tells the compiler how to treat a function, told once there is a compiler."""

    def decorator(fn: Any = None, *settings: Any, **named: Any) -> Any:
        if fn is None:
            return lambda function: decorator(function, *settings, **named)
        if not isinstance(fn, FunctionType):
            return real(fn, *settings, **named)
        told = functools.cache(lambda: real(fn, *settings, **named))

        @functools.wraps(fn)
        def call(*arguments: Any, **keywords: Any) -> Any:
            return (told() if _loaded() else fn)(*arguments, **keywords)

        return call

    return decorator


@contextmanager
def without_compiler() -> Iterator[None]:
    """What is imported meanwhile gets stand-ins for the compiler; one that is called imports it and answers as it does.

    Where the compiler is loaded already nothing is put off; at the end no stand-in is left in its place.
    """
    import torch

    if _loaded():
        yield
        return
    sys.modules.update({name: _Deferred(name, of) for name, of in _PUT_OFF.items() if name not in sys.modules})
    decorators = {name: getattr(torch.compiler, name) for name in ("disable", "allow_in_graph")}
    whole: Any = _Deferred(_COMPILER, ())
    whole.assume_constant_result = _constant
    torch._dynamo = whole  # as an attribute alone: whoever imports it gets the compiler
    for name, real in decorators.items():
        for module in (whole, torch.compiler):
            setattr(module, name, _once_loaded(real))
    try:
        yield
    finally:
        for name, real in decorators.items():
            setattr(torch.compiler, name, real)
        if torch.__dict__.get("_dynamo") is whole:
            del torch._dynamo
        _forget()


@contextmanager
def never_compiled() -> Iterator[None]:
    """What torch computes by functions in Python meanwhile, as most of it on the meta device, without its compiler.

    The first call of such a function would import the compiler, only to have it leave the function alone, and the first
    check of a size its symbolic algebra, only to find true or false: that is put off until something else imports them.
    """
    import torch

    if _loaded():
        yield
        return
    whole: Any = _Deferred(_COMPILER, ())
    whole.disable = _once_loaded(_left_alone)
    sys.modules[_COMPILER] = torch._dynamo = whole
    if _ALGEBRA not in sys.modules:
        algebra: Any = _Deferred(_ALGEBRA, ())
        algebra.Basic = _Expression
        symbolic: Any = _Deferred(_SYMBOLIC, ())
        for name, plain in _OF_NUMBERS.items():
            setattr(symbolic, name, _of_numbers(name, plain))
        sys.modules |= {_ALGEBRA: algebra, _SYMBOLIC: symbolic}
    try:
        yield
    finally:
        if torch.__dict__.get("_dynamo") is whole:
            del torch._dynamo
        _forget()


@contextmanager
def nothing_drawn() -> Iterator[None]:
    """Networks built meanwhile are given no random numbers: their weights are to come, or nobody wants them.

    For numbers on the meta device, which holds none, torch would import its compiler. A truncated normal distribution
    is drawn until all numbers lie inside: of memory that nobody fills, that would never end.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Undrawn(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            named = dict(kwargs or {})
            if getattr(func, "__name__", "").endswith(_DRAWN):
                return args[0] if args else named["tensor"]
            if func in (torch.randn, torch.rand):
                named.pop("generator", None)
                return torch.empty(*args, **named)
            return func(*args, **named)

    truncated = torch.nn.init._no_grad_trunc_normal_
    torch.nn.init._no_grad_trunc_normal_ = lambda tensor, *_, **__: tensor
    try:
        with Undrawn():
            yield
    finally:
        torch.nn.init._no_grad_trunc_normal_ = truncated


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Networks built meanwhile are shapes without numbers, on torch's meta device."""
    import torch

    with torch.device("meta"), nothing_drawn():
        yield
