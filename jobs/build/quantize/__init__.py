"""`raysail quantize`: what INT8 and mixed precision cost and gain."""
