"""Training and testing: what the tools share."""
