"""A and B: what the user names, resolved: images, shards, model, device."""
