"""Many jobs as one: sweeps, and the reproduction of a published result."""
