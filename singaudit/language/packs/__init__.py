"""Embeddings made earlier, in one file, for machines without a language model."""
