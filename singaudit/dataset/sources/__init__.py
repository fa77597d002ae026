"""Where images come from: one file a kind, listed in the table."""
