"""report.html and comparison.html: what a run came to, as pages that load nothing; `page.py` is the way in."""
