"""The tests: they alone see both the driver and the oracle."""
