"""``python -m mriforge``: the command line."""

import sys

from mriforge.cli import main

if __name__ == "__main__":
    sys.exit(main())
