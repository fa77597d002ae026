"""Numbers and findings do not turn on the last bit of a sum: the tests of metrics, geometry and translators pass under
every set of kernels that the linear algebra library has for this processor, with one thread and with two.

    python -m pytest -m kernels tests/test_kernels.py        # about a minute for each
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WHAT = ("metrics", "geometry", "language/translators/test_fit.py")
NEEDS = {"Haswell": "avx2", "SkylakeX": "avx512f", "Zen": "avx2", "Prescott": "sse3"}


def flags():
    """What this processor can do, as Linux says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    found = next((line for line in lines if line.startswith("flags")), "")
    # Linux calls the third set of SSE instructions by the name it had before it was released.
    return {"sse3" if flag == "pni" else flag for flag in found.split()}


@pytest.mark.kernels
@pytest.mark.timeout(900)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kernels", NEEDS)
def test_nothing_turns_on_the_kernels_of_the_linear_algebra_library(kernels, threads):
    if NEEDS[kernels] not in flags():
        pytest.skip(f"this processor has no {NEEDS[kernels]}, without which kernels for {kernels} do not run")
    environment = os.environ | {
        "OPENBLAS_CORETYPE": kernels,
        "OPENBLAS_NUM_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(str(HERE / part) for part in WHAT)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=HERE.parent,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
