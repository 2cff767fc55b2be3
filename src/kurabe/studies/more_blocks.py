"""The blocks that a study has where --seeds asks for others: a planned look, never fewer."""

from collections.abc import Sequence

from kurabe.errors import UserError
from kurabe.studies.study import Study


def with_blocks(study: Study, blocks: int, begun: bool) -> Study:
    """The study with so many blocks in all; UserError where no look is planned there.

    Before its first run, a study whose looks nobody wrote down plans them anew.
    """
    if not begun and study.looks is None:
        return study.changed(blocks=blocks, added_blocks=0)
    has = len(study.all_blocks)
    if blocks < has and begun:
        raise UserError(
            f"--seeds {blocks}: {study.name} has {has} blocks already, and "
            "blocks are never taken away; give a larger number."
        )
    if blocks != has and blocks not in study.planned:
        further = [look for look in study.planned if look > (has if begun else 0)]
        nearest = next((look for look in further if look >= blocks), None)
        way = f"give --seeds {nearest}" if nearest else "another study, with --out, can have more"
        raise UserError(
            f"--seeds {blocks}: {study.name} was planned to be looked at after "
            f"{_listed(study.planned)} blocks, so that looking again adds no error; {way}."
        )
    if not begun:
        return study.changed(blocks=blocks, added_blocks=0)
    return study.changed(added_blocks=blocks - study.blocks)


def _listed(numbers: Sequence[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}" if most else last
