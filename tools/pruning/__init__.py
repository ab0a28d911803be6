"""Structured pruning on graphs and arrays alone: which channels hang together, what they are worth, which ones go."""
