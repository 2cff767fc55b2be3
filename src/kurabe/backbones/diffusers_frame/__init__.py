"""Networks of the diffusers library: what a recipe keeps of one; `.network` is their frame.

Each class of diffusers is an idea of its own, in the folders beside this one.
"""

from kurabe.bases.diffusers_network import DiffusersNetwork
from kurabe.registry import Idea

IDEAS = (Idea("backbones", "diffusers", f"{__name__}.network:of_settings", DiffusersNetwork),)
