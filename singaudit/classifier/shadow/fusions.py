"""Fuse decomposed patterns back into single operators."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from singaudit.classifier.shadow.graph import Node


def fuse(
    nodes: Sequence[Node], constants: Mapping[str, Tensor], types: Mapping[str, int], keep: Collection[str]
) -> list[Node]:
    return list(nodes)
