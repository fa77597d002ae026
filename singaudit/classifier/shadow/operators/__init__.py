"""ONNX operators as torch functions, one module per kind; ``catalogue`` imports them all."""
