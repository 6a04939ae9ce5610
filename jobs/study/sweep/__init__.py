"""`raysail sweep`: a study as a table and a picture."""
