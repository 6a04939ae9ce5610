"""Makes the committed table of the family's predicted latency; in the checkout only."""
