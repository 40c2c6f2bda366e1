"""Models with semantic IDs as ONNX graphs, for ONNX Runtime in Python, in a browser or elsewhere (extra: onnx)."""
