"""``singaudit`` and ``python -m singaudit``."""

import gc
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
    try:
        run(prog_name="singaudit")
    finally:
        gc.freeze()  # the interpreter's last search for cycles takes a third of a second where torch is loaded


if __name__ == "__main__":
    main()
