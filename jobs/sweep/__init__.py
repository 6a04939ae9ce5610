"""A study as one job: its file, points, runs, table and picture."""
