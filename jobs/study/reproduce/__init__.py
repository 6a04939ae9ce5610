"""`raysail reproduce`: a published result, run again and compared."""
