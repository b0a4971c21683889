"""Prompts and tokens: prefill, decoding, sampling, the engine."""
