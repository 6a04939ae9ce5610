"""The state of cards while a job runs."""
