"""Lapidary's embedded model: its corpus, its training, its export and its proof."""
