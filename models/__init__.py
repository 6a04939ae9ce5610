"""Original networks: definitions, training, import of official weights."""
