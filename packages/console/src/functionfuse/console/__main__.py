"""The command line: `functionfuse`, or `python -m functionfuse.console`."""

from __future__ import annotations

from functionfuse.console._command.application import CommandLine


def main() -> None:
    """Run the command of this process, and exit with its code."""
    CommandLine().main()


if __name__ == "__main__":
    main()
