"""Cores at hand, and how many runs share them."""

from kurabe.records.surroundings import cores
from kurabe.studies.study import Study

__all__ = ["cores", "workers"]


def workers(study: Study) -> int:
    """How many runs go on at once: as many as the cores have threads for."""
    return study.workers or max(1, cores() // study.threads)
