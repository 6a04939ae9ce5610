"""A run's folder: where it lies, who owns it, what is committed to it, and how it is read."""
