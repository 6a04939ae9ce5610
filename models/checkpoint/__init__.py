"""Published checkpoints, read without running what is pickled in them."""
