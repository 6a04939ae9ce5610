"""The training of the sample network."""
