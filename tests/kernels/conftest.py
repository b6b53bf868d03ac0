"""The machines take two hours to run, so `make test` does not collect them: `make test-kernels`."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("UDOCKER_TEST_KERNELS") else ["test_kernels.py"]
