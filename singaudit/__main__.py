"""``python -m singaudit``."""

from singaudit.cli.main import main

main(prog_name="singaudit")
