"""The sub-commands of `raysail`, one file per command; the work is done elsewhere."""
