"""Equivalent features: other features with the same logits, by construction.

Source: arXiv 2603.14610, section 3 (zero removal, steering); the others keep features on the data's own distribution.
Each is checked in the classifier's own arithmetic by ``metrics.logit_check``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from singaudit.geometry.null_space import NullSpace

Array = NDArray[np.float64]

STEERED_ANGLE = 40.0
"""Degrees of image score that steering is calibrated to, as in the paper's Table 1."""

# Ridge penalty of the conditional mean, in units of the mean variance of the principal part: small beside real
# directions, large beside rounding and beside directions that no image varies along.
_PENALTY = 1e-3


def remove_null(features: NDArray[np.floating], space: NullSpace) -> Array:
    """f~ = f - P_n f for rows of ``features`` (n, m): the paper's zero removal. float64."""
    return space.principal_part(features)


def remove_null_to_mean(features: NDArray[np.floating], mean: Array, space: NullSpace) -> Array:
    """f~ = f - P_n (f - mean): the null component becomes the data's average one. float64 (n, m)."""
    f = np.asarray(features, dtype=np.float64)
    return f - space.null_part(f - mean)


def swap_null(features: NDArray[np.floating], donors: NDArray[np.intp], space: NullSpace) -> Array:
    """f~_i = P_p f_i + P_n f_donors[i]: image i with another image's null component. float64 (n, m)."""
    null = space.null_part(features)
    return np.asarray(features, dtype=np.float64) - null + null[donors]


@dataclass(frozen=True)
class ConditionalMean:
    """The best linear guess of the null component from what the logits see; call it on features for equivalents."""

    mean: Array
    """(m,) mean feature."""
    weight: Array
    """(m, m): (f - mean) @ weight is the guessed P_n (f - mean)."""
    space: NullSpace
    """The head's split of feature space."""

    def __call__(self, features: NDArray[np.floating]) -> Array:
        """f~ = P_p f + P_n [mean + C V_p (V_p' C V_p + lambda I)^-1 V_p' (f - mean)], float64 (n, m)."""
        f = np.asarray(features, dtype=np.float64)
        centred = f - self.mean
        return f - self.space.null_part(centred) + centred @ self.weight


def conditional_mean(mean: Array, covariance: Array, space: NullSpace) -> ConditionalMean:
    """Fit ``ConditionalMean`` from the features' ``mean`` (m,) and ``covariance`` (m, m).

    lambda is 1e-3 times the mean variance of the principal part. Neither V_p nor V_n is needed as a whole:
    V_p (V_p' C V_p + lambda I)^-1 V_p' equals (P_p C P_p + lambda I)^-1 on what P_p keeps. The guess lies in the null
    space by construction, hence logits stay even where C is singular.
    """
    seen = space.principal_part(covariance)
    both = space.principal_part(seen.T)
    penalty = max(_PENALTY * float(np.trace(both)) / max(space.rank, 1), float(np.finfo(np.float64).tiny))
    solved = np.linalg.solve(both + penalty * np.eye(len(both)), space.null_part(seen.T))
    return ConditionalMean(mean, space.null_part(space.principal_part(solved.T).T), space)


@dataclass(frozen=True)
class Steered:
    """Features moved inside the null space toward a text until their image score is a stated angle."""

    features: Array
    """(n, m); unchanged where the angle cannot be reached."""
    step: Array
    """(n,) length of the move in feature space; 0 where the angle cannot be reached."""
    reached: NDArray[np.bool_]
    """(n,) whether the angle can be reached along the direction at all."""


def steering_direction(
    features: NDArray[np.floating], weight: Array, intercept: Array, text: NDArray[np.floating], space: NullSpace
) -> Array:
    """P_n g / |P_n g| with g = grad_f cos(T f, z_text): (n, m) float64, a zero row where no null direction helps.

    ``weight`` (m, d) and ``intercept`` (d,) are the translator's, T f = f @ weight + intercept; ``text`` is one
    embedding (d,) or one per image (n, d), of any length. In closed form: with u = T f / |T f| and t the unit text,
    g = weight @ (t - (u . t) u) / |T f|. Source: arXiv 2603.14610, section 3.
    """
    z = np.asarray(features, dtype=np.float64) @ weight + intercept
    length = np.linalg.norm(z, axis=1, keepdims=True)
    u = z / np.where(length > 0, length, 1.0)
    t = np.atleast_2d(np.asarray(text, dtype=np.float64))
    t = t / np.linalg.norm(t, axis=1, keepdims=True)
    tangent = t - np.sum(u * t, axis=1, keepdims=True) * u
    # The length of g cancels: dividing by |T f| first would only lose digits where T f is small.
    null = space.null_part(tangent @ weight.T)
    size = np.linalg.norm(null, axis=1, keepdims=True)
    negligible = size <= 1e-12 * np.linalg.norm(weight)
    direction: Array = np.where(negligible, 0.0, null / np.where(negligible, 1.0, size))
    return direction


def steer(
    features: NDArray[np.floating],
    weight: Array,
    intercept: Array,
    text: NDArray[np.floating],
    space: NullSpace,
    length: float | Array,
) -> Array:
    """f~ = f + length * P_n g / |P_n g|: one step of ``length`` (a number or (n,)) toward a text. float64 (n, m).

    Other arguments as of ``steering_direction``.
    """
    f = np.asarray(features, dtype=np.float64)
    return f + np.reshape(length, (-1, 1)) * steering_direction(f, weight, intercept, text, space)


def steer_to_angle(
    features: NDArray[np.floating],
    weight: Array,
    intercept: Array,
    text: NDArray[np.floating],
    space: NullSpace,
    angle_deg: float = STEERED_ANGLE,
) -> Steered:
    """Step toward a text until IS(f, f~) is ``angle_deg`` (0 to 180), for every image on its own, in closed form.

    T f~ moves along a straight line z + step * d, so the angle grows from 0 toward that between z and d: with d_par
    and d_perp the parts of d along and across z, step = |z| sin / (cos d_perp - sin d_par), and an angle at or beyond
    the limit is never reached. Other arguments as of ``steering_direction``.
    """
    f = np.asarray(features, dtype=np.float64)
    direction = steering_direction(f, weight, intercept, text, space)
    z, d = f @ weight + intercept, direction @ weight
    length = np.linalg.norm(z, axis=1)
    along = np.sum(z * d, axis=1) / np.where(length > 0, length, 1.0)
    across = np.sqrt(np.maximum(np.sum(d * d, axis=1) - along**2, 0.0))
    step, reached = step_to_angle(length, along, across, angle_deg)
    return Steered(f + step[:, None] * direction, step, reached)


def step_to_angle(length: Array, along: Array, across: Array, angle_deg: float) -> tuple[Array, NDArray[np.bool_]]:
    """(step, reached): how far z must go along d until it has turned by ``angle_deg``; any one shape, elementwise.

    ``length`` is |z|; ``along`` and ``across`` are the parts of d along and across z. Step 0 where never reached.
    """
    sine, cosine = np.sin(np.radians(angle_deg)), np.cos(np.radians(angle_deg))
    gain = cosine * across - sine * along
    # Within rounding of its limit angle an image would need an endless step.
    reached = (gain > 1e-9 * (np.abs(along) + across)) & (length > 0)
    return np.where(reached, length * sine / np.where(reached, gain, 1.0), 0.0), reached
