"""``singaudit`` and ``python -m singaudit``."""

import sys


def main() -> None:
    """Run the command line. An installation that cannot even be imported ends with 3: 1 means that a gate failed."""
    try:
        from singaudit.cli.main import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.exit(3)
    run(prog_name="singaudit")


if __name__ == "__main__":
    main()
