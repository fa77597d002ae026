"""The last layer fitted anew: the penalty toward the old head by cross-validation, the old head itself among the
candidates; groups that would lose too much count more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from singaudit.repair.guard import ROUNDS, Guard, Guarded, weigh_up
from singaudit.repair.judge import predictions
from singaudit.repair.logistic import Array, Design, Loss, fit, losses, scale_of
from singaudit.repair.split import weights_of

PENALTIES = (100.0, 10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""From next to no change to next to no penalty, for standardised features and a loss that is a mean over images."""
FOLDS = 4
_STEPS = 150
"""L-BFGS steps of a fit that only chooses the penalty."""
_STEPS_AGAIN = 60
"""Of one that goes on from the last with other weights."""
_WORSE = 2
"""Penalties in a row that may be worse than the best before smaller ones are no longer tried."""


@dataclass(frozen=True)
class Refit:
    """A head fitted anew."""

    weight: Array
    """(c, m)."""
    bias: Array
    """(c,)."""
    penalty: float
    """That cross-validation chose; infinite where the old head was as good as any."""
    losses: tuple[tuple[float, float], ...]
    """(penalty, cross-validated mean loss) of every candidate, the old head's as (infinity, loss) first."""
    guarded: Guarded | None = None
    """What became of groups that would have lost too much; None for the old head, or where none were guarded."""

    @property
    def unchanged(self) -> bool:
        """Whether it is the old head."""
        return bool(np.isinf(self.penalty))


@dataclass(frozen=True)
class Task:
    """What a head is fitted to."""

    features: NDArray[np.floating]
    """(n, m)."""
    classes: NDArray[np.intp]
    """(n,) the label of each image; 0 and 1 where there is one logit."""
    cells: NDArray[np.intp]
    """(n,) combination of balanced values, from 0; all cells count alike."""
    weight: Array
    """(c, m) of the old head."""
    bias: Array
    """(c,) of the old head."""
    loss: Loss
    """What follows the logits."""
    free: NDArray[np.bool_]
    """(c,): logits whose bias the model file can hold."""
    scenes: NDArray[np.intp] | None = None
    """(n,): images of one number show the same and count as one; None: each is its own."""
    guard: Guard | None = None
    """Groups that must not lose too much."""

    def weights(self, own: NDArray[np.intp] | slice = slice(None)) -> Array:
        """How much each of the images at positions ``own`` counts."""
        return weights_of(self.cells[own], None if self.scenes is None else self.scenes[own])


def target_of(classes: NDArray[np.intp], logits: int) -> Array:
    """(n, logits) one-hot labels; for one logit the label itself."""
    if logits == 1:
        return classes.astype(np.float64)[:, None]
    result: Array = np.zeros((len(classes), logits))
    result[np.arange(len(classes)), classes] = 1.0
    return result


def refit_head(
    task: Task, folds: Sequence[NDArray[np.intp]], advance: Callable[[int, int], None] = lambda done, total: None
) -> Refit:
    """Fit the head anew; see the module.

    ``folds`` hold the positions of each fold's images. The largest penalty counts whose cross-validated loss is within
    one standard error of the best (Hastie, Tibshirani, Friedman, Elements of Statistical Learning, section 7.10).
    """
    n = len(task.features)
    fits = len(PENALTIES) * len(folds)
    steps = fits + (ROUNDS if task.guard else 0)
    table = np.full((len(PENALTIES), n), np.nan)
    old = np.asarray(task.features, np.float64) @ task.weight.T + task.bias
    target = target_of(task.classes, len(task.bias))
    weights = task.weights()
    paths = [_Path(task, old, target, np.setdiff1d(np.arange(n), own), own) for own in folds]
    candidates = [losses(old, target, task.loss)]
    best, tried = float(weights @ candidates[0]), 0
    for index, penalty in enumerate(PENALTIES):
        for path, own in zip(paths, folds, strict=True):
            table[index, own] = path.losses(penalty)
            tried += 1
            advance(tried, steps)
        candidates.append(table[index])
        mean = float(weights @ table[index])
        best = min(best, mean)
        recent = [float(weights @ item) for item in candidates[-_WORSE:]]
        if len(candidates) > _WORSE + 1 and min(recent) > best:
            break
    means = [float(weights @ item) for item in candidates]
    top = int(np.argmin(means))
    chosen = next(
        i
        for i, item in enumerate(candidates)
        if means[i] <= means[top] + _error(item - candidates[top], weights, task.scenes)
    )
    grid = (np.inf, *PENALTIES)
    record = tuple((grid[i], mean) for i, mean in enumerate(means))
    if chosen == 0:
        return Refit(task.weight, task.bias, np.inf, record)
    guarded = _guarded(task, paths, folds, old, grid[chosen], lambda done: advance(fits + done, steps))
    everything = np.arange(n)
    path = _Path(task, old, target, everything, everything)
    design = path.design if guarded is None else path.weighted(guarded.factors)
    change = path.scale.change(fit(design, grid[chosen]))
    bias = task.bias + np.where(task.free, change.bias, 0.0)
    return Refit(task.weight + change.weight, bias, grid[chosen], record, guarded)


def _guarded(
    task: Task,
    paths: Sequence[_Path],
    folds: Sequence[NDArray[np.intp]],
    old: Array,
    penalty: float,
    advance: Callable[[int], None],
) -> Guarded | None:
    """Weights under which groups keep what they must, by the folds' own fits."""
    if task.guard is None:
        return None

    def hits_of(factors: Array) -> NDArray[np.bool_]:
        hits = np.zeros(len(factors), bool)
        for path, own in zip(paths, folds, strict=True):
            hits[own] = predictions(path.logits(penalty, factors)) == task.classes[own]
        return hits

    before = predictions(old) == task.classes
    return weigh_up(hits_of, before, task.weights(), task.guard, task.scenes, advance)


class _Path:
    """Fits of one training set along falling penalties, each started where the last one ended."""

    def __init__(
        self, task: Task, old: Array, target: Array, training: NDArray[np.intp], judged: NDArray[np.intp]
    ) -> None:
        weights = task.weights(training)
        self.scale = scale_of(task.features[training], weights, fixed_bias=not task.free.all())
        self.design = Design(
            self.scale.rows(task.features[training]), old[training], target[training], weights, task.free, task.loss
        )
        self._training = training
        self._judged = self.scale.rows(task.features[judged]), old[judged], target[judged]
        self._last: Array | None = None

    def losses(self, penalty: float) -> Array:
        """(k,) the losses of the images judged, under the fit with this penalty."""
        self._last = fit(self.design, penalty, self._last, _STEPS)
        return losses(self._answers(self._last), self._judged[2], self.design.loss)

    def logits(self, penalty: float, factors: Array) -> Array:
        """(k, c) of the images judged, under the fit with this penalty, all images weighed by factors (n,) more."""
        self._last = fit(self.weighted(factors), penalty, self._last, _STEPS_AGAIN)
        return self._answers(self._last)

    def weighted(self, factors: Array) -> Design:
        """The fit's images, each counting by its factor more."""
        weights = self.design.weights * factors[self._training]
        return replace(self.design, weights=weights / weights.sum())

    def _answers(self, change: Array) -> Array:
        rows, old, _ = self._judged
        logits: Array = old + rows @ change[:, :-1].T + change[:, -1]
        return logits


def _error(differences: Array, weights: Array, scenes: NDArray[np.intp] | None) -> float:
    """Standard error of the weighted mean of paired differences (n,), whose scenes are what is independent."""
    parts = weights * (differences - float(weights @ differences))
    if scenes is not None:
        parts = np.bincount(scenes, weights=parts).astype(np.float64)
    return float(np.sqrt(np.sum(parts**2)))


def folds_of(
    cells: NDArray[np.intp], order: NDArray[np.intp], scenes: NDArray[np.intp] | None = None, count: int = FOLDS
) -> list[NDArray[np.intp]]:
    """``count`` folds, every cell dealt out over them in ``order`` (a permutation of the images).

    Images of one of ``scenes`` (n,) stay in one fold; None: each image is its own.
    """
    scenes = np.arange(len(cells), dtype=np.intp) if scenes is None else scenes
    fold = np.full(int(scenes.max()) + 1, -1)
    dealt = 0
    for cell in range(int(cells.max()) + 1):
        for scene in dict.fromkeys(scenes[order[cells[order] == cell]].tolist()):
            if fold[scene] < 0:
                fold[scene] = dealt % count
                dealt += 1
    return [np.flatnonzero(fold[scenes] == k) for k in range(count)]
