"""The shadow copy: an ONNX graph as a differentiable torch module, and the certificate that says it may be trusted."""
