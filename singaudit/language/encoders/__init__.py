"""Language models that embed images and texts: one file a library, listed in the table."""
