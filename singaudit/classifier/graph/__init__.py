"""An ONNX graph as it lies in its file: looked up, checked, opened by the runtime."""
