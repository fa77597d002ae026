"""Linear layers right before the features, folded together with the seen coordinates into a narrower one."""

from __future__ import annotations

from singaudit.classifier.graph.lookup import GraphIndex
from singaudit.classifier.head.linear_form import NotLinear
from singaudit.classifier.head.plan import HeadPlan, Leaf, Trace
from singaudit.classifier.head.read import read_head, weight_and_bias
from singaudit.classifier.head.search import plan_head
from singaudit.repair.trimmed import Affine


def folded(graph: GraphIndex, trace: Trace, plan: HeadPlan, seen: Affine) -> tuple[list[Leaf], Affine] | None:
    """The features before those linear layers, and what takes them straight to the seen coordinates.

    None where no linear layer stands before the features with nothing but affine operators between, or where folding
    would not make the file smaller: where the layer is narrower than what it would become.
    """
    if len(plan.leaves) != 1 or plan.collapsed:
        return None
    try:
        whole = plan_head(graph, trace, plan.logits, None, collapse=True)
        if not whole.collapsed or len(whole.leaves) != 1:
            return None
        features = plan.leaves[0].tensor
        end = graph.positions[id(graph.producers[features])]
        nodes = [node for node in whole.nodes if graph.positions[id(node)] <= end]
        before = HeadPlan(features, whole.leaves, nodes, {k: v for k, v in whole.linears.items() if k <= end})
        weight, bias = weight_and_bias(before, read_head(graph, trace, before), trace.shapes[features])
    except NotLinear:
        return None
    if weight.shape[0] != len(seen.matrix) or seen.matrix.shape[1] >= len(seen.matrix):
        return None
    return whole.leaves, Affine(weight.T @ seen.matrix, bias @ seen.matrix + seen.offset)
