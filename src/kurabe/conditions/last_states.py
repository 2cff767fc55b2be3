"""What Stable Diffusion 1.x and 2.x are told: the last hidden states of one encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kurabe.bases.texts import TextParts
from kurabe.registry import Idea

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kurabe.conditions.text import Said, Tower


class OneEncoder(TextParts):
    """One text encoder and its tokenizer."""


def said(towers: Mapping[str, Tower], texts: Sequence[str], config: Mapping[str, Any]) -> Said:
    """States (texts, tokens, width)."""
    from kurabe.conditions.text import Said

    return Said(towers[""](texts)[0])


IDEAS = (Idea("conditions", "last-states", f"{__name__}:said", OneEncoder),)
