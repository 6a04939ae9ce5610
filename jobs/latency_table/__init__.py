"""The chip's predicted time: of one build, and the table of the family."""
