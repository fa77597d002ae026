"""Threads of the linear algebra library: one where matrices are small, all where images are many."""

import numpy as np
import pytest
import threadpoolctl

from singaudit.geometry.threads import threads_for


def threads():
    np.ones(1) @ np.ones(1)
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.parametrize(
    ("dimensions", "images", "one"), [(2048, 0, True), (2048, 1000, True), (2048, 100_000, False), (4096, 10, False)]
)
def test_small_matrices_have_one_thread(dimensions, images, one):
    with threadpoolctl.threadpool_limits(2, user_api="blas"), threads_for(dimensions, images):
        assert threads() == ({1} if one else {2})
