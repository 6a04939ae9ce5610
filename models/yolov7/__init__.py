"""The YOLOv7 family in PyTorch, and its export to ONNX."""
