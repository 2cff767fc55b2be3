"""python -m kurabe is the `kurabe` command."""

import sys

if not sys.flags.safe_path:
    # -m puts the working folder first, whose files are no modules of Python's.
    del sys.path[0]

from kurabe.cli import main

main()
