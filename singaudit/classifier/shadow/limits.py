"""Static limits on what a graph may ask for; a hostile one is refused by them, no ordinary classifier comes near."""

from __future__ import annotations

import math
from collections.abc import Iterable

from singaudit.errors import ModelError

MAX_NODES = 100_000
"""Nodes after local functions are inlined; the largest timm export has about 15,000."""
MAX_DEPTH = 64
"""Nesting of functions and subgraphs within one another."""
MAX_CONSTANT_BYTES = 8 * 2**30
"""Weights of one model, in the types they travel in."""
MAX_ELEMENTS = 2**31
"""Elements of one tensor: 8 GiB of float32."""
MAX_LOOP_STEPS = 100_000
"""Nodes that the bodies of loops may execute in one call, all loops together."""
MAX_FOLDED_ELEMENTS = 2**27
"""Elements of one tensor computed while planning: 512 MiB of float32."""


def check_elements(shape: Iterable[int], what: str, limit: int = MAX_ELEMENTS) -> None:
    """Raise ModelError where a tensor of this shape would exceed ``limit`` elements."""
    sizes = [int(size) for size in shape]
    if math.prod([size for size in sizes if size > 0]) > limit:
        shown = "x".join(str(size) for size in sizes)
        raise ModelError(f"{what} asks for a tensor of {shown} elements; the limit is {limit}.")


def check_depth(depth: int) -> None:
    """Raise ModelError where functions or subgraphs are nested beyond the limit."""
    if depth > MAX_DEPTH:
        raise ModelError(f"Functions or subgraphs are nested deeper than {MAX_DEPTH}, or call themselves.")
