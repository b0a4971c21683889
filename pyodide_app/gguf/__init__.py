"""GGUF: the container's reader, the ggml tensor types, and where bytes come from."""
