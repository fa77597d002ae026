"""The command line: options, settings, outcome, progress and summary."""
