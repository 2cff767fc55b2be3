"""How many runs share the cores at hand."""

from kurabe.records.surroundings import cores
from kurabe.studies.study import Study


def workers(study: Study) -> int:
    """How many runs go on at once: as many as the cores have threads for, one on a GPU."""
    if study.device != "cpu":
        return study.workers or 1
    return study.workers or max(1, cores() // study.threads)
