"""Where the passes over images run: this machine."""
