"""Mender_Steer as ONNX graphs, for ONNX Runtime in Python, in a browser or elsewhere (extra: onnx)."""
