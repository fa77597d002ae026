"""Image score, attribute score and margins: numbers from translated pairs. Degrees throughout.

Source: arXiv 2603.14610, section 4 (IS and AS); margins, contrast and carried share are singaudit's own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def unit(vectors: NDArray[np.floating]) -> Array:
    """Rows (n, d) scaled to unit length, float64; a zero row stays zero."""
    v = np.asarray(vectors, dtype=np.float64)
    norm = np.sqrt(np.einsum("ij,ij->i", v, v))
    return v / np.where(norm > 0, norm, 1.0)[:, None]


def image_score(translated: NDArray[np.floating], equivalent: NDArray[np.floating]) -> Array:
    """IS(f, f~) = angle(T f, T f~) in degrees for rows (n, d) -> (n,).

    As 2 atan2(|u - v|, |u + v|) of the unit vectors: arccos cannot resolve small angles.
    """
    u, v = unit(translated), unit(equivalent)
    return np.degrees(2 * np.arctan2(np.linalg.norm(u - v, axis=1), np.linalg.norm(u + v, axis=1)))


def text_angles(translated: NDArray[np.floating], texts: Array) -> Array:
    """angle(T f, z_text) in degrees: rows (n, d) against unit texts (k, d) -> (n, k), as one matrix product."""
    cosine = unit(translated) @ texts.T
    np.clip(cosine, -1.0, 1.0, out=cosine)
    np.arccos(cosine, out=cosine)
    return np.degrees(cosine, out=cosine)


def attribute_score(translated: NDArray[np.floating], equivalent: NDArray[np.floating], texts: Array) -> Array:
    """AS(f, f~ | text) = angle(T f, z_text) - angle(T f~, z_text) in degrees -> (n, k).

    Positive when the equivalent is closer to the text than the original.
    """
    return text_angles(translated, texts) - text_angles(equivalent, texts)


def margins(angles: Array) -> Array:
    """How clearly each value is read: mean angle to the other values less the angle to it, (n, v) -> (n, v)."""
    v = angles.shape[1]
    return (angles.sum(axis=1, keepdims=True) - angles) / (v - 1) - angles
