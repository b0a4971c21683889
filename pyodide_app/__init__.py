"""Lapidary's driver: language models on WebGPU, in a browser tab and natively alike."""

__version__ = "0.1.0"
