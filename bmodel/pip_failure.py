"""Turns what pip printed when it failed into one sentence with the cause."""

from __future__ import annotations

import re
from typing import Final

# The first pattern that is found tells the cause; pip's last line alone often hides it ("no matching distribution"
# is also what it says when the network is down).
CAUSES: Final = (
    (r"No space left on device", "the disk is full"),
    (r"DO NOT MATCH THE HASHES", "a downloaded file has another SHA-256 than the one on record"),
    (
        r"NewConnection|NameResolution|Connect(ion)?Timeout|ReadTimeout|Proxy|Network is unreachable|name resolution",
        "the package index cannot be reached",
    ),
    # Without retries pip keeps it to itself that it could not connect.
    (r"from versions: none", "the package index does not have it, or cannot be reached"),
    (r"SSLError|CERTIFICATE_VERIFY_FAILED", "the package index's certificate is not trusted"),
    (r"Permission denied", "a folder cannot be written"),
    (r"No module named pip", "this Python has no pip"),
)


def explain_pip_failure(output: str) -> str:
    """Return the cause that pip's output gives, with its own last error line behind it."""
    errors = [line.strip() for line in output.splitlines() if line.strip().startswith("ERROR:")]
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    own_words = errors[-1].removeprefix("ERROR:").strip() if errors else (lines or ["it printed nothing"])[-1]
    for pattern, cause in CAUSES:
        if re.search(pattern, output):
            return f"{cause} (pip: {own_words})"
    return own_words
