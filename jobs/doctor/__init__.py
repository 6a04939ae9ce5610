"""What `raysail doctor` looks at."""
