"""From a file to a model on the device."""
