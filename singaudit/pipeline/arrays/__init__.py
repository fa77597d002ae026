"""Audits of arrays: features of any framework and embeddings of any encoder, from memory or from a folder."""
