"""singaudit: audit what an image classifier's head silently ignores, before you deploy it."""

__version__ = "0.1.0"
