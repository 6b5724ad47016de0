"""``python -m linksim``."""

from linksim.cli.app import main

main()
