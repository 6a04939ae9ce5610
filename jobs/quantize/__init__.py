"""What INT8 costs, and which layers to keep in FP32."""
