"""Another program's store: Ollama's manifests, blobs and options."""
