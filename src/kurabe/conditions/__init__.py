"""Conditions: what a network is told besides the image and the time."""
