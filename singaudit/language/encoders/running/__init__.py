"""What runs the two towers of a vision-language model: ONNX Runtime or torch, with no more computed than is read."""
