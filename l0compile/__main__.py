"""``python -m l0compile`` is the ``l0compile`` command."""

import sys

from l0compile.cli import main

if __name__ == "__main__":
    sys.exit(main())
