"""Records: the run's folder is the truth, a study's holds its runs, the index is disposable."""

from kurabe.records.index import RunIndex
from kurabe.records.ledger import Ledger
from kurabe.records.run import STATUSES, RunFolder
from kurabe.records.samples import SampleGrid, read_grid
from kurabe.records.study import SHIPPED, StudyFolder, find_runs
from kurabe.records.types import Info, Score, Scores

__all__ = [
    "SHIPPED",
    "STATUSES",
    "Info",
    "Ledger",
    "RunFolder",
    "RunIndex",
    "SampleGrid",
    "Score",
    "Scores",
    "StudyFolder",
    "find_runs",
    "read_grid",
]
