"""Draw scenes of the generated world: signed distances, looked up and antialiased for a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from singaudit.dataset.generated.scenes import ATTRIBUTES, Scenes

SIDE = 64
"""Height and width of a generated image in pixels."""

_RADII = {"small": (11.5, 14.0), "large": (18.5, 22.0)}  # pixels
_MARGIN = 25.0  # pixels from the border to the nearest centre: the largest shape stays inside, whatever its size
_MAX_ANGLE = 15  # degrees either way; more would make a cross of a star's arms and a diamond of a square
_TINT = 9.0  # a colour's channels vary by this many of 255 either way
_DARKER = 0.52  # second tone of a texture
_COLOURS = {
    "red": (222, 30, 36),
    "orange": (250, 130, 20),
    "yellow": (248, 228, 40),
    "green": (40, 165, 60),
    "cyan": (40, 215, 225),
    "blue": (40, 80, 235),
    "purple": (140, 45, 190),
    "pink": (255, 130, 195),
}
_GROUNDS = {  # first and second tone
    "black": ((14, 14, 14), (62, 62, 62)),
    "white": ((246, 246, 246), (204, 204, 204)),
    "gray": ((128, 128, 128), (90, 90, 90)),
    "brown": ((104, 66, 34), (66, 40, 18)),
    "navy": ((18, 24, 78), (52, 62, 124)),
    "beige": ((226, 208, 168), (186, 164, 122)),
}
_TEXTURE_PERIOD = 6.0  # pixels, in the shape's own frame
_PATTERN_PERIOD = 12.0  # pixels

_GRID, _EXTENT = 512, 1.2  # the table of distances covers [-1.2, 1.2] shape radii: 0.1 pixels apart at most
Array = NDArray[np.float32]


def render(scenes: Scenes) -> NDArray[np.uint8]:
    """Pixels (n, 64, 64, 3) uint8 RGB of n scenes. Each image depends on its own scene alone.

    Edges are antialiased by a ramp one pixel wide across the signed distance. Only additions, multiplications,
    divisions and square roots take part (angles come from a rounded table), so that pixels do not depend on the
    machine's mathematics library.
    """
    if not len(scenes):
        return np.empty((0, SIDE, SIDE, 3), dtype=np.uint8)
    axis = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
    x, y = axis[None, None, :], axis[None, :, None]
    ground = _mix(*_tones(_GROUNDS, scenes.background_colour, scenes.background_tint), _pattern(scenes, x, y))
    u, v, _ = _own_frame(scenes, x, y)
    first = _tones({name: (rgb, rgb) for name, rgb in _COLOURS.items()}, scenes.colour, scenes.tint)[0]
    body = _mix(first, first * np.float32(_DARKER), _texture(scenes, u, v))
    return np.rint(ground + (body - ground) * silhouettes(scenes)[..., None]).astype(np.uint8)


def silhouettes(scenes: Scenes) -> Array:
    """How much of each pixel the shape covers: (n, 64, 64) float32 of 0 to 1."""
    axis = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
    u, v, radius = _own_frame(scenes, axis[None, None, :], axis[None, :, None])
    return _covered(_distance(scenes.shape, u / radius, v / radius) * radius)


def _tones(
    table: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]], which: NDArray[np.int64], tint: Array
) -> tuple[Array, Array]:
    """Both tones (n, 1, 1, 3) of 0-255, moved together by the tint."""
    tones = np.asarray(list(table.values()), dtype=np.float32)[which]
    moved = np.clip(tones + ((tint - 0.5) * np.float32(2 * _TINT))[:, None, :], 0, 255)
    return moved[:, 0, None, None, :], moved[:, 1, None, None, :]


def _mix(first: Array, second: Array, share: Array) -> Array:
    """(n, 64, 64, 3): ``share`` (n, 64, 64) of the second tone over the first."""
    return first + (second - first) * share[..., None]


def _covered(distance: Array) -> Array:
    """How much of a pixel lies inside, from the signed distance of its centre in pixels (negative inside)."""
    return np.clip(np.float32(0.5) - distance, 0, 1)


def _own_frame(scenes: Scenes, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """Pixel coordinates (n, 64, 64) about the shape's centre, turned back by its angle, and radii (n, 1, 1)."""
    low, high = np.asarray([_RADII[name] for name in ATTRIBUTES["size"]], dtype=np.float32)[scenes.size].T
    radius = (low + (high - low) * scenes.radius)[:, None, None]
    span = np.float32(SIDE - 2 * _MARGIN)
    dx = x - (np.float32(_MARGIN) + span * scenes.centre_x)[:, None, None]
    dy = y - (np.float32(_MARGIN) + span * scenes.centre_y)[:, None, None]
    turn = _turns()[(scenes.rotation * (2 * _MAX_ANGLE + 1)).astype(np.int64)]
    cos, sin = turn[:, 0, None, None], turn[:, 1, None, None]
    return cos * dx + sin * dy, cos * dy - sin * dx, radius


@cache
def _turns() -> Array:
    """(2 * 15 + 1, 2): cosine and sine of whole degrees, rounded so that every library gives the same."""
    angles = np.deg2rad(np.arange(-_MAX_ANGLE, _MAX_ANGLE + 1))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).round(6).astype(np.float32)


def _lines(t: Array, period: float) -> Array:
    """Share of the second tone in lines half a period wide across the coordinate ``t`` (pixels)."""
    within = t / np.float32(period)
    within -= np.floor(within)
    return _covered((np.abs(within - np.float32(0.5)) - np.float32(0.25)) * np.float32(period))


def _dots(s: Array, t: Array, period: float) -> Array:
    """Share of the second tone in dots of 0.3 periods radius on a square lattice."""
    s, t = s / np.float32(period), t / np.float32(period)
    s, t = s - np.floor(s) - np.float32(0.5), t - np.floor(t) - np.float32(0.5)
    return _covered((np.sqrt(s * s + t * t) - np.float32(0.3)) * np.float32(period))


def _pattern(scenes: Scenes, x: Array, y: Array) -> Array:
    """Share of the background's second tone, (n, 64, 64)."""

    def checkered(s: Array, t: Array) -> Array:
        a, b = _lines(s, 2 * _PATTERN_PERIOD), _lines(t, 2 * _PATTERN_PERIOD)
        return a + b - 2 * a * b

    kinds: dict[str, Callable[[Array, Array], Array]] = {
        "lined": lambda s, t: _lines(t, _PATTERN_PERIOD) + np.zeros_like(s),
        "checkered": checkered,
        "dotted": lambda s, t: _dots(s, t, _PATTERN_PERIOD),
    }
    return _by_kind(kinds, "background_pattern", scenes, x, y, 2 * _PATTERN_PERIOD)


def _texture(scenes: Scenes, u: Array, v: Array) -> Array:
    """Share of the shape's second tone, (n, 64, 64)."""
    diagonal = np.float32(0.707107)
    kinds: dict[str, Callable[[Array, Array], Array]] = {
        "striped": lambda s, t: _lines((s + t) * diagonal, _TEXTURE_PERIOD),
        "spotted": lambda s, t: _dots(s, t, _TEXTURE_PERIOD),
    }
    return _by_kind(kinds, "texture", scenes, u, v, _TEXTURE_PERIOD)


def _by_kind(
    kinds: dict[str, Callable[[Array, Array], Array]], attribute: str, scenes: Scenes, s: Array, t: Array, period: float
) -> Array:
    """Each image's own kind of texture, shifted by its phase; kinds without a function stay in the first tone."""
    share = np.zeros((len(scenes), SIDE, SIDE), dtype=np.float32)
    shift_s = (scenes.phase_x * np.float32(period))[:, None, None]
    shift_t = (scenes.phase_y * np.float32(period))[:, None, None]
    shape = share.shape
    for kind, draw in kinds.items():
        rows = np.flatnonzero(getattr(scenes, attribute) == ATTRIBUTES[attribute].index(kind))
        if len(rows):
            share[rows] = draw(
                np.broadcast_to(s, (shape[0], *s.shape[1:]))[rows] + shift_s[rows],
                np.broadcast_to(t, (shape[0], *t.shape[1:]))[rows] + shift_t[rows],
            )
    return share


def _distance(shape: NDArray[np.int64], u: Array, v: Array) -> Array:
    """Signed distance (n, 64, 64) to each image's shape, in shape radii, from the nearest node of the table."""
    scale = np.float32((_GRID - 1) / (2 * _EXTENT))
    column = np.clip(np.rint((u + np.float32(_EXTENT)) * scale), 0, _GRID - 1).astype(np.int32)
    row = np.clip(np.rint((v + np.float32(_EXTENT)) * scale), 0, _GRID - 1).astype(np.int32)
    return np.take(_distances().reshape(-1), (shape.astype(np.int32)[:, None, None] * _GRID + row) * _GRID + column)


@cache
def _distances() -> Array:
    """(8, 512, 512): signed distances of the shapes of ``ATTRIBUTES`` in a frame with y downwards."""
    axis = np.linspace(-_EXTENT, _EXTENT, _GRID)
    x, y = np.meshgrid(axis, axis)
    r = np.hypot(x, y)
    bite = np.hypot(x - 0.45, y) - 0.78
    shapes = {
        "circle": r - 0.88,
        "square": _polygon(x, y, [(0.78, 0.78), (-0.78, 0.78), (-0.78, -0.78), (0.78, -0.78)]),
        "triangle": _polygon(x, y, [(0.0, -1.0), (0.92, 0.62), (-0.92, 0.62)]),
        "star": _polygon(x, y, _star(5, 1.05, 0.42)),
        "cross": np.minimum(_box(x, y, 1.0, 0.32), _box(x, y, 0.32, 1.0)),
        "ring": np.abs(r - 0.72) - 0.23,
        "heart": _polygon(x, y, _heart()),
        "crescent": np.maximum(r - 0.98, -bite),
    }
    return np.stack([shapes[name] for name in ATTRIBUTES["shape"]]).astype(np.float32)


def _box(x: NDArray[np.float64], y: NDArray[np.float64], half_width: float, half_height: float) -> NDArray[np.float64]:
    dx, dy = np.abs(x) - half_width, np.abs(y) - half_height
    return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0)


def _star(points: int, outer: float, inner: float) -> list[tuple[float, float]]:
    turns = np.arange(2 * points) * np.pi / points
    radii = np.where(np.arange(2 * points) % 2, inner, outer)
    return list(zip((radii * np.sin(turns)).round(6), (-radii * np.cos(turns)).round(6), strict=True))


def _heart() -> list[tuple[float, float]]:
    t = np.arange(48) * 2 * np.pi / 48
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return list(zip((x / 16.5).round(6), ((-y - 2.5) / 15.5).round(6), strict=True))


def _polygon(x: NDArray[np.float64], y: NDArray[np.float64], corners: list[tuple[float, float]]) -> NDArray[np.float64]:
    """Exact signed distance to a polygon: nearest edge, sign by the parity of crossings."""
    nearest = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        ex, ey = bx - ax, by - ay
        along = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, (x - ax - along * ex) ** 2 + (y - ay - along * ey) ** 2)
        if ey != 0:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) / ey * ex)
    return np.where(inside, -1.0, 1.0) * np.sqrt(nearest)
