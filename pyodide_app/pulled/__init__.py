"""Real models that lie in packages: which there are, fetching them, where they are."""
