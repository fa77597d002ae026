"""The null space against the full singular value decomposition in float32, and the rank rule on known heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from measuring import Outcome, in_turn
from numpy.typing import NDArray
from rank_cases import as_head, rank_cases, trained_head

from singaudit.geometry.null_space import null_space

SHAPES = ((2, 1280), (1000, 1024), (1000, 2048), (1000, 4096), (21843, 1024))
QUICK_SHAPES = ((2, 1280), (100, 128), (100, 256))


def full_decomposition(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The null basis (m, m - r) as the last rows of V', with numpy's rank rule."""
    c, m = weight.shape
    _, s, vt = np.linalg.svd(weight, full_matrices=True)
    rank = int(np.count_nonzero(s > s[0] * max(c, m) * np.finfo(np.float32).eps))
    return vt[rank:].T


def speed(quick: bool) -> Outcome:
    """Seconds at each shape, and how exactly the null directions keep the logits."""
    rows = []
    for c, m in QUICK_SHAPES if quick else SHAPES:
        weight = np.random.default_rng(0).normal(0, 0.03, (c, m)).astype(np.float32)
        head = as_head(weight)
        repetitions = 21 if c * m < 10_000 else 3 if c > 10_000 or quick else 7
        seconds = in_turn(
            {"singaudit": lambda h=head: null_space(h), "full": lambda w=weight: full_decomposition(w)}, repetitions
        )
        space, f = null_space(head), np.random.default_rng(1).normal(size=(50, m))
        logits = f @ head.weight.T
        moved = np.abs((f - space.null_part(f)) @ head.weight.T - logits).max() / np.abs(logits).max()
        rows.append(
            {
                "c": c,
                "m": m,
                "rank": space.rank,
                "null space (s)": seconds["singaudit"],
                "full float32 SVD (s)": seconds["full"],
                "times faster": seconds["full"] / seconds["singaudit"],
                "largest relative logit change": float(moved),
            }
        )
    outcome = Outcome("Null space against numpy.linalg.svd(float32, full_matrices=True)", rows)
    outcome.notes.append("Ours includes the tolerance, the softmax rank and conversion; float64 throughout.")
    faster = {(row["c"], row["m"]): row["times faster"] for row in rows}
    if not quick:
        outcome.expect("slowest shape, times the rival's time", 1 / min(faster.values()), at_most=1.1)
        outcome.expect("times faster at (1000, 4096)", faster[1000, 4096], at_least=2)
        outcome.expect("times faster at (21843, 1024)", faster[21843, 1024], at_least=10)
    return outcome


def ranks(reference: Path | None) -> Outcome:
    """The rank found for heads whose rank is known, beside numpy's own rule."""
    rows = []
    for name, head, truth in rank_cases(reference):
        space = null_space(head)
        rows.append(
            {
                "head": name,
                "true rank": truth,
                "singaudit": space.rank,
                "right": space.rank == truth,
                "numpy.linalg.matrix_rank (float32)": int(np.linalg.matrix_rank(head.weight.astype(np.float32))),
                "tolerance from": space.tolerance_reason,
            }
        )
    outcome = Outcome(f"Ranks of a (1000, 1280) head ({trained_head(reference)[1]}) and what becomes of it", rows)
    outcome.expect("wrong ranks", sum(not row["right"] for row in rows), at_most=0)
    return outcome
