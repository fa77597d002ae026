"""Topological order of ONNX nodes: ONNX Runtime's own fp16 converter writes files that are not sorted."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from onnx import AttributeProto, NodeProto

from singaudit.classifier.shadow import limits
from singaudit.errors import ModelError


def _reads(proto: NodeProto, depth: int = 0) -> Iterator[str]:
    """Yield the names a node needs from its surroundings, its subgraphs' included (a superset does no harm)."""
    limits.check_depth(depth)
    yield from (name for name in proto.input if name)
    for item in proto.attribute:
        if item.type == AttributeProto.GRAPH:
            inside = {name for node in item.g.node for name in node.output}
            inside |= {value.name for value in item.g.input} | {value.name for value in item.g.initializer}
            for node in item.g.node:
                yield from (name for name in _reads(node, depth + 1) if name not in inside)
            yield from (value.name for value in item.g.output if value.name not in inside)


def sort_nodes(protos: Sequence[NodeProto]) -> list[NodeProto]:
    """Sort nodes so that sources come first, otherwise in the given order.

    Raises ModelError where two nodes write the same name, or nodes depend on each other in a circle.
    """
    producer: dict[str, int] = {}
    for index, proto in enumerate(protos):
        for name in proto.output:
            if name and name in producer:
                raise ModelError(f"Two nodes produce {name}.")
            if name:
                producer[name] = index
    waiting: list[set[int]] = []
    followers: list[list[int]] = [[] for _ in protos]
    for index, proto in enumerate(protos):
        sources = {producer[name] for name in _reads(proto) if name in producer}
        waiting.append(sources)
        for source in sources:
            followers[source].append(index)
    ready = [index for index, sources in enumerate(waiting) if not sources]
    heapq.heapify(ready)
    order: list[NodeProto] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(protos[index])
        for follower in followers[index]:
            waiting[follower].discard(index)
            if not waiting[follower]:
                heapq.heappush(ready, follower)
    if len(order) != len(protos):
        raise ModelError("The graph's nodes depend on each other in a circle.")
    return order
