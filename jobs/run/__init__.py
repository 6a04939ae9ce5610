"""G: a run's folder: where it lies, who may write to it, what is committed, how it is read again."""
