"""Web: the pages and their JSON twins, over the catalogue, records and the one table. No torch.

`create_app(Library(Path("runs")))` is an ASGI application; `kurabe serve` runs it.
"""

from kurabe.web.app import create_app
from kurabe.web.library import Library

__all__ = ["Library", "create_app"]
