"""`kurabe serve`: the pages over a folder of runs, without torch."""

import socket
from pathlib import Path
from urllib.parse import quote

import uvicorn

from kurabe.errors import UserError
from kurabe.methods import SEED, catalogue
from kurabe.web import Library, create_app

# An address this long is refused by a page; a longer one by the server itself.
_LONGEST_REQUEST = 256 * 1024


def serve(runs: Path, host: str, port: int, lang: str) -> None:
    """Serve until interrupted; the first line printed is the address to open."""
    if not runs.is_dir():
        raise UserError(f"{runs} is not a folder; --runs names the one that holds your studies.")
    # What is wrong with a card of one's own is said before anything listens.
    catalogue()
    listening = _listen(host, port)
    library = Library(runs)
    library.refresh()
    name = f"[{host}]" if ":" in host else host
    print(f"http://{name}:{listening.getsockname()[1]}{_first_page(library, lang)}", flush=True)
    config = uvicorn.Config(
        create_app(library),
        log_level="warning",
        http="h11",
        h11_max_incomplete_event_size=_LONGEST_REQUEST,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _first_page(library: Library, lang: str) -> str:
    """The seed's pair, with results where there are any: one's own study before a shipped one."""
    entries = library.holding(frozenset(SEED))
    study = f"&study={quote(entries[0].name)}" if entries else ""
    return f"/{lang}/compare?slugs={','.join(SEED)}{study}"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        # From here on a browser waits rather than being refused.
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        raise UserError(
            f"Nothing can listen on {host}, port {port} ({error}); give another --port or --host."
        ) from None
    return listening
