"""From ONNX to a verified BModel with its sidecar."""
