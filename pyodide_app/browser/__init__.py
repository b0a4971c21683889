"""The worker's end of the page: messages, files, the device."""
