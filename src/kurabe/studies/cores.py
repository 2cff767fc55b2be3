"""Cores at hand, and how many runs share them."""

import os

from kurabe.studies.study import Study


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def workers(study: Study) -> int:
    """How many runs go on at once: as many as the cores have threads for."""
    return study.workers or max(1, cores() // study.threads)
