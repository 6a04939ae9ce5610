"""Image sets and label formats."""
