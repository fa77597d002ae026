"""What runs a model's towers: ONNX Runtime where exports are asked for, else torch, with what computes less."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from singaudit.errors import short
from singaudit.language.encoders.running.agreement import bits_stay, least_cosine, make_probes
from singaudit.language.encoders.running.exports import COSINE, Exports
from singaudit.language.encoders.running.towers import SMALL_PARAMETERS, Prepare, TorchTowers, Towers


def loaded_in(precision: str, device: str) -> Any:
    """torch's dtype in which weights are loaded; ``choose`` narrows those for a CPU."""
    import torch

    return torch.bfloat16 if precision == "bf16" and device.partition(":")[0] != "cpu" else torch.float32


def choose(
    towers: TorchTowers,
    exports: Exports | None,
    prepare: Prepare,
    tokens: Callable[[], Sequence[Sequence[int]]],
    precision: str = "fp32",
) -> Towers:
    """The fastest way to run ``towers`` that computes the same, with a word why where that is not the usual one.

    ``prepare`` makes an input of pixels; ``tokens`` are of some texts; ``precision`` fp32 or bf16.
    """
    with _one_thread():
        if exports is not None and (made := exports.made(towers, prepare, tokens())) is not towers:
            return made
        if not towers.on_cpu:
            return towers
        half = precision == "bf16"
        found = towers if towers.parameters < SMALL_PARAMETERS else _shortened(towers, prepare, tokens, half)
        if half and found is towers:
            towers.halve()
        return found


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch's threads spin while they wait for each other, and the towers' own are at work already."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _shortened(
    towers: TorchTowers, prepare: Prepare, tokens: Callable[[], Sequence[Sequence[int]]], half: bool
) -> TorchTowers:
    """The lean modules in torch where there are any that agree with the library's in float32; in bf16 if ``half``."""
    try:
        if (lean := towers.lean()) is None:
            return towers
        probes, found = make_probes(prepare, tokens()), towers.leaned(lean, False)
        cosine = least_cosine(probes.by(found), probes.by(towers))
        if cosine >= COSINE:
            if half:
                found.halve()
            found = towers.leaned(lean, bits_stay(partial(towers.leaned, lean, True), probes.tokens))
            found.runtime = towers.runtime
            return found
        reason = f"what computes less has a cosine of {cosine:.6f} with it (required: {COSINE})"
    except (MemoryError, OSError):
        raise
    except Exception as error:  # a model of another build than its class's
        reason = short(error) or type(error).__name__
    _, _, before = towers.runtime.partition(": ")  # why there is no export
    towers.runtime = f"torch, the library's own towers: {'; '.join(filter(None, (reason[:200], before)))}"
    return towers
