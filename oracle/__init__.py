"""The reference in NumPy that every shader and whole model is held to."""
