"""How many threads the linear algebra library uses: they wait for each other in loops that take a whole core."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from threadpoolctl import threadpool_limits

from singaudit.machine import cores

_FEW = 3000
"""Dimensions of features below which one thread does all. With two, on two cores that others used as well, eigenvalues
of 1,280 dimensions took four times as much of them, and as long; an audit of 1,000 images 266 s of them instead of 54.
What two gain on an idle machine is a third of a decomposition, and nothing of small products."""
_MANY = 20_000
"""Images from which on products with all of them take most of the time, which threads share well."""

_SIDE = 8
"""Calculations side by side at most."""


def threads_for(dimensions: int, images: int = 0) -> AbstractContextManager[object]:
    """A context in which ``images`` with features of so many ``dimensions`` have one thread if both are few."""
    return threadpool_limits(1, user_api="blas") if _few(dimensions, images) else nullcontext()


def workers(dimensions: int, images: int = 0) -> int:
    """Calculations side by side within ``threads_for`` the same: one a core, where each has one thread.

    Not more than ``_SIDE``, each of which holds matrices of its own.
    """
    return min(cores(), _SIDE) if _few(dimensions, images) else 1


def _few(dimensions: int, images: int) -> bool:
    return dimensions < _FEW and images < _MANY
