"""Settings that all tests share."""

from __future__ import annotations

import hypothesis

# The same examples on every run and machine; a software adapter may be slow at times.
hypothesis.settings.register_profile(
    "house", derandomize=True, deadline=None, print_blob=True
)
hypothesis.settings.load_profile("house")
