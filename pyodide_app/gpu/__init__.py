"""The GPU: one protocol, implemented over WebGPU in the browser and over wgpu-py."""
