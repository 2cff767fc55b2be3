"""python -m kurabe is the `kurabe` command."""

from kurabe.cli import main

main()
