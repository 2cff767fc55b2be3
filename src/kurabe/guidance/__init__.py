"""Guidance: what samples are drawn towards. Each kind is a module here, which the registry finds.

Settings derive from `kurabe.methods.settings.GuidanceChoice`; what they set is made by calling the
idea with these settings and a `Parts`. The mathematics stands in `kurabe.diffusion.guidance`.
"""
