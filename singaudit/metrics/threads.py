"""How many threads the linear algebra library uses: on small matrices they fight each other."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from threadpoolctl import threadpool_limits

# Multiplications of one product below which a second thread costs more than it brings: with 512 x 64 x 64 and two
# busy cores, 99 draws of controls took 12 s with two threads and 0.9 s with one.
_SMALL = 2e8


def threads_for(images: int, features: int, embedding: int) -> AbstractContextManager[object]:
    """A context in which products (images, features) by (features, embedding) run on one thread if they are small."""
    small = float(images) * features * embedding < _SMALL
    return threadpool_limits(1, user_api="blas") if small else nullcontext()
