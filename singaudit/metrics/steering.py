"""Steering toward many texts at once: how far the null space alone can bring images to each.

Source: arXiv 2603.14610, section 3 and Table 1. ``geometry.equivalents.steer_to_angle`` makes the features of one text;
here everything follows from the translated vectors: with u = T f / |T f|, t the text, q = t - (u . t) u and
M = W' P_n W (d, d), the translated unit direction is M q / (q'Mq)^(1/2), so that all images and texts take a few matrix
products.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.equivalents import STEERED_ANGLE, step_to_angle
from singaudit.language.translators.fit import Translator
from singaudit.metrics.intervals import Estimate, bootstrap
from singaudit.metrics.scores import unit
from singaudit.metrics.subject import Subject, blocks

Array = NDArray[np.float64]

MAX_IMAGES = 2000
"""More images only narrow intervals that are narrow already."""
MAX_TEXTS = 512
# Nothing is judged by these intervals: fewer draws do.
_DRAWS = 400


@dataclass(frozen=True)
class Steering:
    """Steering toward one text; angles in degrees."""

    reached: Estimate
    """Share of the images that can reach the angle at all."""
    step: Estimate
    """Geometric mean of their steps, in typical null norms."""
    attribute_score: Estimate
    """Mean AS toward the text there."""
    absolute: Estimate
    """Mean |AS| there: the paper's Table 1."""
    image_score_one: Estimate
    """Mean IS of all images after a step of one typical null norm."""
    attribute_score_one: Estimate
    """Mean AS after that step."""


@dataclass(frozen=True)
class Steered:
    """Steering of the audited images."""

    typical_null_norm: float
    """Median |P_n (f - mean)|, in units of the features."""
    other_class: Steering | None
    """Toward the class after each image's own; None with one class."""
    texts: list[Steering]
    """Toward each of the subject's first ``MAX_TEXTS`` concept texts."""


def steer_all(subject: Subject, angle_deg: float = STEERED_ANGLE) -> Steered | None:
    """Steer at most ``MAX_IMAGES`` images, the first in hash order; None without a null space to steer in."""
    if subject.space.null_dim == 0:
        return None
    block = next(blocks(subject, limit=MAX_IMAGES))
    typical = float(np.median(np.linalg.norm(block.null - block.null_mean, axis=1)))
    texts = subject.concept_texts[:MAX_TEXTS]
    count = len(subject.class_texts)
    table = np.empty((len(block.rows), len(texts), 6))
    own = np.empty((len(block.rows), 1, 6))
    for k in np.unique(block.fold):
        mine = block.fold == k
        translator = subject.fitted.translators[k]
        null = _null_products(subject, translator)
        table[mine] = _columns(_products(block.original[mine], texts, null, own=False), typical, angle_deg)
        following = (subject.class_of[block.rows[mine]] + 1) % count
        one_each = _products(block.original[mine], subject.class_texts[following], null, own=True)
        own[mine] = _columns(one_each, typical, angle_deg)
    other = _estimates(own, subject.seed)[0] if count > 1 else None
    return Steered(typical, other, _estimates(table, subject.seed))


def _null_products(subject: Subject, translator: Translator) -> tuple[Array, Array]:
    """M = W' P_n W and M^2, (d, d) each."""
    space, weight = subject.space, translator.weight
    inside = space.basis.T @ weight
    m = inside.T @ inside if space.basis_is_null else weight.T @ weight - inside.T @ inside
    return m, m @ m


@dataclass(frozen=True)
class _Products:
    """Of the unit directions u of n images and of texts t; each (n, k) or what broadcasts to it."""

    length: Array
    """|T f|."""
    ut: Array
    umt: Array
    um2t: Array
    umu: Array
    um2u: Array
    tmt: Array
    tm2t: Array
    trace: float
    """Of M."""


def _products(z: Array, texts: Array, null: tuple[Array, Array], own: bool) -> _Products:
    """Every image (n, d) toward each of ``texts`` (k, d), or where ``own`` toward its own of ``texts`` (n, d)."""
    u, (m, m2) = unit(z), null
    um, um2 = u @ m, u @ m2

    def onto(rows: Array) -> Array:
        return _by_row(rows, texts) if own else rows @ texts.T

    tmt, tm2t = _by_row(texts @ m, texts), _by_row(texts @ m2, texts)
    return _Products(
        length=np.linalg.norm(z, axis=1)[:, None],
        ut=onto(u),
        umt=onto(um),
        um2t=onto(um2),
        umu=_by_row(um, u),
        um2u=_by_row(um2, u),
        tmt=tmt if own else tmt.T,
        tm2t=tm2t if own else tm2t.T,
        trace=float(np.trace(m)),
    )


def _by_row(a: Array, b: Array) -> Array:
    """(n, 1) scalar products of rows."""
    result: Array = np.einsum("ij,ij->i", a, b)[:, None]
    return result


def _columns(found: _Products, typical: float, angle_deg: float) -> Array:
    """(n, k, 6): reached, log step, AS and |AS| at the angle (0 where not reached), IS and AS after one norm."""
    length, c = found.length, np.clip(found.ut, -1, 1)
    umt, um2t, umu, um2u, tmt, tm2t = found.umt, found.um2t, found.umu, found.um2u, found.tmt, found.tm2t
    size2 = tmt - 2 * c * umt + c**2 * umu
    possible = size2 > 1e-24 * found.trace
    size = np.sqrt(np.where(possible, size2, 1.0))
    along = np.where(possible, (umt - c * umu) / size, 0.0)
    whole2 = np.where(possible, np.maximum(tm2t - 2 * c * um2t + c**2 * um2u, 0) / size**2, 0.0)
    across = np.sqrt(np.maximum(whole2 - along**2, 0))
    toward = np.where(possible, (tmt - c * umt) / size, 0.0)
    step, reached = step_to_angle(np.broadcast_to(length, along.shape), along, across, angle_deg)

    def gained(step: Array | float) -> Array:
        """AS after ``step``."""
        moved = np.sqrt(length**2 + 2 * step * length * along + step**2 * whole2)
        after = np.clip((length * c + step * toward) / np.where(moved > 0, moved, 1.0), -1, 1)
        result: Array = np.degrees(np.arccos(c) - np.arccos(after))
        return result

    at_angle = np.where(reached, gained(step), 0.0)
    with np.errstate(divide="ignore"):
        log_step = np.where(reached & (step > 0), np.log(np.where(step > 0, step, 1.0) / typical), 0.0)
    turned = np.degrees(np.arctan2(typical * across, length + typical * along))
    return np.stack([reached, log_step, at_angle, np.abs(at_angle), turned, gained(typical)], axis=2)


def _estimates(table: Array, seed: int) -> list[Steering]:
    """Per text the estimates of columns (n, k, 6) as ``_columns`` gives."""
    n, k, width = table.shape
    sums = bootstrap(table.reshape(n, -1), seed, _DRAWS)
    images = np.full(k, n)
    reached = table[:, :, 0].sum(axis=0).astype(np.intp)

    def estimates(column: int, over_reached: bool, count: NDArray[np.intp]) -> list[Estimate]:
        def statistic(c: Array) -> Array:
            c = c.reshape(*c.shape[:-1], k, width)
            value: Array = c[..., column] / c[..., 0] if over_reached else c[..., column]
            return np.exp(value) if column == 1 else value

        return sums.estimates(statistic, count)

    return [
        Steering(*one)
        for one in zip(
            estimates(0, False, images),
            estimates(1, True, reached),
            estimates(2, True, reached),
            estimates(3, True, reached),
            estimates(4, False, images),
            estimates(5, False, images),
            strict=True,
        )
    ]
