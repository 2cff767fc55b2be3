"""Images in: known sets, folders, zip and Parquet files → `ImageSet`; splits; views."""

from kurabe.data.buckets import Buckets, bucketed
from kurabe.data.captions import captions, captions_digest
from kurabe.data.images import ImageSet
from kurabe.data.known.named import available
from kurabe.data.loading import check, load
from kurabe.data.report import Report, some_of
from kurabe.data.splits import Split, split
from kurabe.data.traces import FILE as TRACES
from kurabe.data.traces import Traces

__all__ = [
    "TRACES",
    "Buckets",
    "ImageSet",
    "Report",
    "Split",
    "Traces",
    "available",
    "bucketed",
    "captions",
    "captions_digest",
    "check",
    "load",
    "some_of",
    "split",
]
