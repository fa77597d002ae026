"""The audit's section in a model card: where it stands, what it says, and every byte around it left alone."""
