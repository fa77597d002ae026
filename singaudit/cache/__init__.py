"""What was computed once: rows of features and embeddings, facts, by the content of what they came from."""
