"""Losses (ONNX operator specification: NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from singaudit.classifier.shadow.operators.registry import Kernel, Site, operator, same_as_input


def _loss(site: Site, log_probabilities: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Negative log-likelihood (N, C, ...) at integer targets (N, ...), reduced as the node says."""
    reduction = site.choice("reduction", "mean", ("none", "sum", "mean"))
    ignore = site.get("ignore_index")
    # torch always ignores one index; without one, a value no class can have.
    index = -(2**31) if ignore is None else ignore
    return F.nll_loss(log_probabilities, target.to(torch.int64), weight, ignore_index=index, reduction=reduction)


@operator("NegativeLogLikelihoodLoss", 12, attributes=("ignore_index", "reduction"))
def negative_log_likelihood(site: Site) -> Kernel:
    """Loss from log-probabilities."""
    return lambda x, target, weight=None: _loss(site, x, target, weight)


@operator("SoftmaxCrossEntropyLoss", 12, attributes=("ignore_index", "reduction"), types=same_as_input(outputs=2))
def softmax_cross_entropy(site: Site) -> Kernel:
    """Loss from logits, and the log-probabilities."""

    def run(x: Tensor, target: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_probabilities = torch.log_softmax(x, 1)
        return _loss(site, log_probabilities, target, weight), log_probabilities

    return run
