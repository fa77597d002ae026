"""What the classifier is shown: image sources (the generated world among them), decoding, preprocessing."""
