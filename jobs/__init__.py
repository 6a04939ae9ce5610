"""The jobs people submit, and the command line."""
