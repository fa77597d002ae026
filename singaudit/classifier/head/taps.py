"""Where the rows of features and logits are in a traced graph."""

from __future__ import annotations

from singaudit.classifier.head.plan import Leaf, Trace
from singaudit.classifier.tap import Tap
from singaudit.errors import ModelError


def tap_of_leaf(trace: Trace, leaf: Leaf) -> Tap:
    """The features' tap."""
    dtype = trace.dtypes[leaf.tensor]
    return Tap(leaf.tensor, leaf.batch_axis, leaf.axes, leaf.shape, leaf.scale, leaf.zero, dtype)


def tap_of_logits(trace: Trace, name: str) -> Tap:
    """The logits' tap; ModelError where the batch axis is not known."""
    axis, shape = trace.batch_axes[name], trace.shapes[name]
    if axis is None and trace.static_batch != 1:
        raise ModelError(
            f"the axis of the logits {name!r} that counts images could not be told",
            hint="Export the classifier with a dynamic batch size",
        )
    return Tap(name, axis, tuple(place for place in range(len(shape)) if place != axis), shape)
