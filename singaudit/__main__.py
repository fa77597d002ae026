"""``python -m singaudit``."""

from singaudit.cli import main

main(prog_name="singaudit")
