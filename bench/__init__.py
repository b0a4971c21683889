"""Benchmarks: what is measured here is never a test with a time limit."""
