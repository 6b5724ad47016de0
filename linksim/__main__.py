"""``python -m linksim``."""

from linksim.cli import main

main()
