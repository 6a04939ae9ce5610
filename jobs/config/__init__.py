"""A job's options: their names, limits and defaults, from the command line and from YAML."""
