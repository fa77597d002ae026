"""Networks of torch become ONNX files in a process of their own."""
