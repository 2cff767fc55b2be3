"""What Stable Diffusion XL is told (Podell et al. 2024, "SDXL", section 2.1).

The hidden states before the last layer of two encoders, side by side, and the pooled projection of
the second, which may be alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kurabe.bases.texts import TextParts
from kurabe.registry import Idea

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kurabe.conditions.text import Said, Tower


class TwoEncoders(TextParts):
    """Two encoders, of which the first may be left out."""

    needed = ("_2",)
    optional = ("",)
    silent = True


def said(towers: Mapping[str, Tower], texts: Sequence[str], config: Mapping[str, Any]) -> Said:
    """States (texts, tokens, widths together) and the projection (texts, pooled)."""
    import torch

    from kurabe.conditions.text import Said

    outputs = {mark: tower(texts) for mark, tower in towers.items()}
    states = torch.cat([output.hidden_states[-2] for output in outputs.values()], dim=-1)
    return Said(states, outputs["_2"][0])


IDEAS = (Idea("conditions", "joined-states", f"{__name__}:said", TwoEncoders),)
