"""What Stable Diffusion 3 is told (Esser et al. 2024, section 4): three encoders.

The hidden states before the last layer of two CLIP encoders side by side, filled up with zeros to
the width of a T5 encoder's, then T5's last hidden states, row behind row; and both pooled
projections of CLIP. Where T5 was left out, its rows are zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kurabe.bases.texts import TextParts
from kurabe.registry import Idea

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kurabe.conditions.text import Said, Tower


# Of T5's tokens, as in diffusers' pipeline.
LENGTH = 256


class ThreeEncoders(TextParts):
    """Two CLIP encoders and a T5 encoder, which may be left out."""

    needed = ("", "_2")
    optional = ("_3",)


def said(towers: Mapping[str, Tower], texts: Sequence[str], config: Mapping[str, Any]) -> Said:
    """States (texts, CLIP's tokens + 256, width) and the projections (texts, pooled)."""
    import torch
    from torch.nn.functional import pad

    from kurabe.conditions.text import Said

    clips = [towers[mark](texts, towers[""].length) for mark in ("", "_2")]
    states = torch.cat([clip.hidden_states[-2] for clip in clips], dim=-1)
    if "_3" in towers:
        rows = towers["_3"](texts, LENGTH)[0]
    else:
        rows = states.new_zeros(len(texts), LENGTH, config["joint_attention_dim"])
    filled = pad(states, (0, rows.shape[-1] - states.shape[-1]))
    return Said(torch.cat([filled, rows], dim=1), torch.cat([clip[0] for clip in clips], dim=-1))


IDEAS = (Idea("conditions", "joint-texts", f"{__name__}:said", ThreeEncoders),)
