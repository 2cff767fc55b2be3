"""What PixArt is told (Chen et al. 2024, section 2.3): the last hidden states of a T5 encoder.

Rows behind the end of a text are zeros, by which the network knows that they are no tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kurabe.bases.texts import TextParts
from kurabe.registry import Idea

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kurabe.conditions.text import Said, Tower

# The most tokens, those of PixArt-Σ; α's tokenizer says less by itself.
LENGTH = 300


class OneMasked(TextParts):
    """One T5 encoder and its tokenizer."""


def said(towers: Mapping[str, Tower], texts: Sequence[str], config: Mapping[str, Any]) -> Said:
    """States (texts, tokens, width), in small letters as in diffusers' pipelines."""
    from kurabe.conditions.text import Said

    tower = towers[""]
    tokens = tower.tokens([text.lower().strip() for text in texts], min(tower.length, LENGTH))
    states = tower.network(tokens.input_ids, attention_mask=tokens.attention_mask)[0]
    return Said(states * tokens.attention_mask[..., None])


IDEAS = (Idea("conditions", "masked-states", f"{__name__}:said", OneMasked),)
