"""Scoring a run again, or anybody's detection files."""
