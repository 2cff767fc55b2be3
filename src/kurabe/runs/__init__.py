"""One run, from its recipe to its scores: images, split, training, measuring, and what it is then.

A run knows nothing of studies: whoever has its folder can train, measure, sample and embed.
"""
