"""What keeps freed memory is told to the C library once; an image's memory is then taken from the kernel only once."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The first arrays make the heap as large as it gets; those after them should cost no page fault.
PROGRAM = """
import resource, sys
import numpy as np
from tpu_worker.keep_memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory() and keep_freed_memory()
def faults(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        pair = [np.ones(6_000_000, np.uint8), np.ones(2_000_000, np.float32)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(4)
print(faults(20))
"""


def faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_arrays_that_come_and_go_cost_no_page_faults() -> None:
    if sys.platform != "linux":
        pytest.skip("the C library is glibc on Linux only")
    kept = faults("kept")
    assert kept < 500
    assert faults("returned") > 4 * max(kept, 100)
