"""`python -m motionlib.cli`."""

import sys

from motionlib.cli import main

if __name__ == "__main__":
    sys.exit(main())
