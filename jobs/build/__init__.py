"""What makes networks for the chip: compilation, the analysis of INT8, and the family's table of latency."""
