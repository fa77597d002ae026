"""The files of a report: one file a format, listed in the table."""
