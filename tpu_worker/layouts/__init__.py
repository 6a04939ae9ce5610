"""How a network's outputs become candidate boxes: one module per layout, listed in `registry`."""
