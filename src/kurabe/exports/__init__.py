"""What leaves the tool in the formats of others; each is proved by loading it back there."""
