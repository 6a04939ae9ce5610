"""The checks of `raysail doctor`."""
