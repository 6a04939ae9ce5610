"""`raysail compile`: ONNX → a verified BModel with its sidecar."""
