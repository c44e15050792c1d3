"""The compose file and the image with an engine inside, really started: `make deployment`."""
