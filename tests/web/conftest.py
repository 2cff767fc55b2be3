"""The site over a made study, served for real, and a real Chromium to look at it."""

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient

from kurabe.web import Library, create_app

sys.path.insert(0, str(Path(__file__).parent.parent / "unit"))

import made_study

PAIR = "transfer-learning-with-diffusion-models,self-supervised-diffusion-model"

# What a Chromium needs where it runs as root and may reach nothing but the server under test.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("served")
    made_study.scans(root / "scans")
    run = made_study.StudyFolder(root / "scans").run("transfer", 1)
    for seen in range(100, 2100, 100):
        run.append_metric({"images_seen": seen, "loss": 20 / seen})
        run.append_metric({"images_seen": seen, "held_out": 25 / seen, "bands": []})
    return root


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory) -> Iterator[None]:
    before = os.environ.get("KURABE_CACHE")
    os.environ["KURABE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["KURABE_CACHE"]
    else:
        os.environ["KURABE_CACHE"] = before


@pytest.fixture(scope="session")
def library(runs, _cache) -> Library:
    # Without the shipped studies, whose number may grow.
    library = Library(runs, shipped=runs.parent / "no-shipped-studies")
    library.refresh()
    return library


@pytest.fixture(scope="session")
def client(library) -> TestClient:
    return TestClient(create_app(library), follow_redirects=False)


class Serving:
    """A server in a thread, on a free port, until it is told to stop."""

    def __init__(self, library: Library) -> None:
        config = uvicorn.Config(create_app(library), port=0, log_level="warning")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.02)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


@pytest.fixture(scope="session")
def served(library) -> Iterator[str]:
    serving = Serving(library)
    yield serving.address
    serving.stop()


@pytest.fixture(scope="session")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("KURABE_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium: install it, or name one in KURABE_CHROMIUM")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, served):
    """open_page(path, **context settings) -> a page; what it complains about fails the test."""
    contexts, complaints = [], []

    def opened(path: str, **settings):
        settings = {"viewport": {"width": 1280, "height": 900}, **settings}
        context = browser.new_context(**settings)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: complaints.append(message.text) if message.type == "error" else None,
        )
        page.goto(served + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [text for text in complaints if "status of 4" not in text] == []
