"""What `build.py` is made of: the environment, the bundle, the local server."""
