"""What users see on the terminal, and the signals they send from it."""
