"""Passes over images: their models as recipes, parts of them, and how long they will take."""
