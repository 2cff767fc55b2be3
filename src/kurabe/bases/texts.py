"""What must be known of a way to tell a network a text, before any encoder is read. No torch here.

A condition is an idea of the group "conditions". Its settings derive from `TextParts`; it is made
by calling the idea with (encoders by their mark, texts, the denoiser's configuration), which gives
a `kurabe.conditions.text.Said`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from kurabe import registry


class TextParts:
    """Which encoders a folder of diffusers must hold; never made itself.

    Attributes:
        needed, optional: marks, with which names of encoders and tokenizers end ("" or "_2").
        silent: whether nothing said is zeros, unless a folder's index says otherwise.
    """

    needed: ClassVar[tuple[str, ...]] = ("",)
    optional: ClassVar[tuple[str, ...]] = ()
    silent: ClassVar[bool] = False

    @classmethod
    def present(cls, index: Mapping[str, Any]) -> tuple[str, ...]:
        """The marks that an index names, in their order.

        ValueError where it lacks a part: one that is needed, or the other half of a pair.
        """
        found = {mark: cls._pair(index, mark) for mark in sorted((*cls.needed, *cls.optional))}
        for mark, pair in found.items():
            if mark in cls.needed or any(pair.values()):
                for part, named in pair.items():
                    if not named:
                        raise ValueError(f"names no {part}, so that no text can be given")
        return tuple(mark for mark, pair in found.items() if all(pair.values()))

    @staticmethod
    def _pair(index: Mapping[str, Any], mark: str) -> dict[str, bool]:
        parts = (f"text_encoder{mark}", f"tokenizer{mark}")
        return {part: any(index.get(part) or ()) for part in parts}


def parts_of(condition: str) -> type[TextParts]:
    """What is known of that condition; UserError where there is none of that name."""
    settings = registry.look_up("conditions", condition).settings
    assert settings is not None and issubclass(settings, TextParts)
    return settings
