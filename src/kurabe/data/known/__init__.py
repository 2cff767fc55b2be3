"""Data sets that are known by name: which there are, where they are fetched, how they are read."""
