"""Images drawn from a seed: the embedded world of shapes."""
