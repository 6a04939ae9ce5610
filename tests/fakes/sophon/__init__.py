"""A strict stand-in for the vendor's `sophon` package: put `tests/fakes` on the path to import it."""
