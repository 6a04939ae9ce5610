"""The pool: one actor per card, shards in flight, deadlines, blame and quarantine."""
