"""``python -m udocker_batch.local``: the same as ``udocker-batch local``; supervisors start this way."""

import sys

from .command import main

sys.exit(main(sys.argv[1:]))
