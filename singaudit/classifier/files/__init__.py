"""Files and folders as they arrive: what they hold, and what belongs to them."""
