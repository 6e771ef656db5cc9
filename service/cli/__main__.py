"""`python -m service.cli`: the same command, without its script."""

from service.cli import main

main()
