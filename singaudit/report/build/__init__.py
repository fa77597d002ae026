"""From measured arrays to the parts of result.json."""
