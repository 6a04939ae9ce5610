"""What one card does with images; runs without Ray."""
