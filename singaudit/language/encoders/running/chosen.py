"""What runs a model's towers: ONNX Runtime where exports are asked for, else torch, with what computes less."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from singaudit.errors import short
from singaudit.language.encoders.running.agreement import bits_stay, least_cosine, make_probes
from singaudit.language.encoders.running.exports import COSINE, Exports
from singaudit.language.encoders.running.towers import SMALL_PARAMETERS, Prepare, TorchTowers, Towers

COSINE_16 = 0.9995
"""Least cosine in place of ``COSINE`` where towers compute in 16 bits, whose rounding alone moves embeddings (ViT-B/32,
random weights: 0.99996 of images, 0.99992 of texts)."""


def choose(
    towers: TorchTowers, exports: Exports | None, prepare: Prepare, tokens: Callable[[], Sequence[Sequence[int]]]
) -> Towers:
    """The fastest way to run ``towers`` that computes the same, with a word why where that is not the usual one.

    ``prepare`` makes an input of pixels; ``tokens`` are of some texts.
    """
    with _one_thread():
        if exports is not None and (made := exports.made(towers, prepare, tokens())) is not towers:
            return made
        if not towers.on_cpu or towers.parameters < SMALL_PARAMETERS:
            return towers
        return _shortened(towers, prepare, tokens)


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


def _shortened(towers: TorchTowers, prepare: Prepare, tokens: Callable[[], Sequence[Sequence[int]]]) -> TorchTowers:
    """The lean modules in torch where there are any that agree with the library's."""
    try:
        lean = towers.lean()
        if lean is None:
            return towers
        probes, required = make_probes(prepare, tokens()), COSINE if towers.precision.itemsize > 2 else COSINE_16
        found = towers.leaned(lean, False)
        cosine = least_cosine(probes.by(found), probes.by(towers))
        if cosine >= required:
            found = towers.leaned(lean, bits_stay(partial(towers.leaned, lean, True), probes.tokens))
            found.runtime = towers.runtime
            return found
        reason = f"what computes less has a cosine of {cosine:.6f} with it (required: {required})"
    except (MemoryError, OSError):
        raise
    except Exception as error:  # a model of another build than its class's
        reason = short(error) or type(error).__name__
    _, _, before = towers.runtime.partition(": ")  # why there is no export
    towers.runtime = f"torch, the library's own towers: {'; '.join(filter(None, (reason[:200], before)))}"
    return towers
