"""``python -m swarmshd.tuning`` is ``swarmsh-tune``."""

import sys

from swarmshd.tuning.program import main

if __name__ == "__main__":
    sys.exit(main())
