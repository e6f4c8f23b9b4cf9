"""bench: how many workers this machine needs for this work, by trying; nothing here runs in the daemon."""
