"""What must be known of a class of diffusers before any network is built. No torch here.

An architecture is an idea of the group "backbones", named as diffusers names its class. Its
settings derive from `Architecture`; it is made by calling the idea with a network, as
`kurabe.backbones.diffusers_frame.DiffusersBackbone` is.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from kurabe import registry
from kurabe.registry import Idea


class Architecture:
    """A class of denoisers, read from configurations; never made itself.

    Attributes:
        channels: in_channels where a configuration says nothing of them.
        called_before: norm_type by which `Transformer2DModel` was told to be this, before it had
            a class of its own.
    """

    channels: ClassVar[int] = 4
    called_before: ClassVar[str | None] = None

    @classmethod
    def check(cls, config: Mapping[str, Any]) -> None:
        """ValueError, with the way out, where the network asks for what Kurabe cannot give it."""

    @classmethod
    def granule(cls, config: Mapping[str, Any]) -> int:
        """What both sides of what it draws must be a multiple of, where it can draw rectangles.

        0 where it cannot: its weights know the places of its own square alone.
        """
        return 0

    @classmethod
    def condition(cls, config: Mapping[str, Any]) -> str | None:
        """The name of what it is told, in the group "conditions"; None where it is told nothing."""
        return None


def halved(config: Mapping[str, Any]) -> int:
    """How often a U-Net halves, as a factor: every level but the last does."""
    return 2 ** (len(config.get("down_block_types") or "four") - 1)


def architectures() -> dict[str, Idea]:
    """All architectures by the name of their class."""
    return {
        name: idea
        for name, idea in registry.ideas("backbones").items()
        if idea.settings is not None and issubclass(idea.settings, Architecture)
    }


def architecture(name: str) -> type[Architecture]:
    """What is known of that class; ValueError, listing what can be used, where nothing is."""
    known = architectures()
    if name not in known:
        raise ValueError(f"a {name}; Kurabe can use {', '.join(sorted(known))}")
    settings = known[name].settings
    assert settings is not None and issubclass(settings, Architecture)
    return settings
