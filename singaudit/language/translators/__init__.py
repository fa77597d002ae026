"""The linear map from features to image embeddings: fitted, stored, published ones read."""
