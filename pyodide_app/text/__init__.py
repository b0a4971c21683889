"""Text and ids: tokenizers, chat formats."""
