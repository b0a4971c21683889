"""Lapidary's driver: Gemma 4 on WebGPU, the same code in a browser tab and natively."""

__version__ = "0.1.0"
