"""Pictures drawn from translated features by a decoder of image embeddings."""
