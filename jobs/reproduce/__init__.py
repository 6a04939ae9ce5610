"""A published result once more: what is there, what was found, and how near it is."""
