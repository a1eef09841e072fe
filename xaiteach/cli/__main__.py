"""`python -m xaiteach.cli`."""

from xaiteach.cli import main

main()
