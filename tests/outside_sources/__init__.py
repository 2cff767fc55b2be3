"""Plain scripts that make what Kurabe did not: they import nothing of it."""
