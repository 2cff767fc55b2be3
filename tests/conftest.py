"""What all tests share: how examples are drawn."""

from hypothesis import settings

# A deadline per example tells how busy the machine is, not whether the mathematics is right.
settings.register_profile("kurabe", deadline=None, print_blob=True)
settings.load_profile("kurabe")
