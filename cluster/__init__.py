"""Which cards there are, and an actor on each."""
