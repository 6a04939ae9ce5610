"""report.html and comparison.html: what a run came to, as pages that load nothing; `command.py` is the way in."""
