"""The level-triggered engine: what differs is the work."""
