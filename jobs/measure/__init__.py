"""H: committed rows to figures: mAP by three protocols, latency, throughput, score."""
