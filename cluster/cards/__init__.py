"""Cards: which there are, who holds them, and queries that cannot hang their caller."""
