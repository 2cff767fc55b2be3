"""How fast the pages come: python bench/pages.py [SECONDS]

A study of 8 methods × 5 blocks with every metric, 10,000 runs in the index, 1,000 generated cards
in the catalogue, and 20 clients that each look at a page about once a second, while every second
a run of another study, every fifth second one of this study, is written anew. There is no cache
of responses. Wanted on 2 cores: 95 % within 100 ms, the median below 50 ms, for the compare page
of 8 columns and for the study's.
"""

import http.client
import json
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import uvicorn

from kurabe.comparison.metrics import METRICS
from kurabe.methods import catalogue
from kurabe.records import StudyFolder
from kurabe.web import Library, create_app

RUNS, CARDS, CLIENTS, BLOCKS = 10_000, 1_000, 20, 5
COLUMNS = [key for key, method in catalogue().items() if method.runs][:8]
PAGES = {
    "compare, 8 columns": f"/ja/compare?slugs={','.join(COLUMNS)}&study=wide",
    "study, 8 × 5": "/ja/studies/wide",
}


def make_runs(root: Path) -> None:
    """The wide study, and as many other runs as fill the index; plain writes, for speed."""
    rng = np.random.default_rng(0)
    study = root / "wide"
    study.mkdir()
    columns = "".join(f'[[columns]]\nid = "{c}"\nmethod = "{c}"\n' for c in COLUMNS)
    text = f'name = "wide"\nbaseline = "{COLUMNS[0]}"\nblocks = {BLOCKS}\n[budget]\nseconds = 60\n'
    (study / "study.toml").write_text(text + columns)
    for place, column in enumerate(COLUMNS):
        for block in range(1, BLOCKS + 1):
            values = {key: 0.1 + 0.02 * place + 0.01 * rng.normal() for key in METRICS}
            write_run(study / "runs" / column / f"block-{block}", column, block, values)
    for number in range(RUNS - len(COLUMNS) * BLOCKS):
        folder = root / f"study-{number // 40}" / "runs" / COLUMNS[number % 8]
        write_run(folder / f"block-{number % 40 // 8 + 1}", COLUMNS[number % 8], number, {})


def write_run(folder: Path, method: str, block: int, values: dict[str, float]) -> None:
    folder.mkdir(parents=True)
    info = {"schema": 1, "id": f"{method}-{block}", "method": method, "block": block,
            "status": "finished", "seconds": 60.0, "images_seen": 1000}  # fmt: skip
    (folder / "run.json").write_text(json.dumps(info))
    if values:
        (folder / "scores").mkdir()
        metrics = {key: {"value": value} for key, value in values.items()}
        scores = {"schema": 1, "checkpoint": "0", "encoder": "pixels", "metrics": metrics}
        (folder / "scores" / "scores.json").write_text(json.dumps(scores))


def serve(root: Path, ready) -> None:
    """The site, in a process of its own."""
    known = catalogue()
    model = known["lora"]
    for number in range(CARDS):
        card = model.card.model_copy(update={"id": f"made-{number}"})
        known[card.id] = model.model_copy(update={"card": card})
    library = Library(root)
    start = time.perf_counter()
    library.refresh()
    first = time.perf_counter() - start
    server = uvicorn.Server(uvicorn.Config(create_app(library), port=0, log_level="error"))

    def tell() -> None:
        while not server.started:
            time.sleep(0.05)
        ready.send((server.servers[0].sockets[0].getsockname()[1], first))
        began = time.process_time()
        ready.recv()
        ready.send(time.process_time() - began)

    threading.Thread(target=tell, daemon=True).start()
    server.run()


def look(port: int, seconds: float, seed: int, found: dict[str, list[float]]) -> None:
    """One client: a page about once a second."""
    rng = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    end = time.perf_counter() + seconds
    time.sleep(rng.random())
    while time.perf_counter() < end:
        name = rng.choice(list(PAGES))
        start = time.perf_counter()
        connection.request("GET", PAGES[name])
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        found[name].append(time.perf_counter() - start)
        time.sleep(rng.uniform(0.5, 1.5))


def rewrite(root: Path, stop: threading.Event) -> None:
    """A run of another study is written anew every second, one of the study every fifth."""
    own = StudyFolder(root / "wide").run(COLUMNS[0], 1).info_path
    other = StudyFolder(root / "study-0").run(COLUMNS[0], 1).info_path
    second = 0
    while not stop.wait(1):
        second += 1
        os.utime(other if second % 5 else own)


def main(seconds: float) -> None:
    """Print the 50th and 95th percentile of each page."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "runs"
        root.mkdir()
        os.environ["KURABE_CACHE"] = str(Path(folder) / "cache")
        make_runs(root)
        here, there = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(root, there))
        server.start()
        port, first = here.recv()
        print(f"{RUNS:,} runs indexed in {first:.1f} s; {CLIENTS} clients for {seconds:g} s")
        found: dict[str, list[float]] = {name: [] for name in PAGES}
        stop = threading.Event()
        threading.Thread(target=rewrite, args=(root, stop), daemon=True).start()
        clients = [threading.Thread(target=look, args=(port, seconds, seed, found))
                   for seed in range(CLIENTS)]  # fmt: skip
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        stop.set()
        here.send("done")
        spent, looks = here.recv(), sum(len(times) for times in found.values())
        server.terminate()
        server.join()
        # Unlike times on the clock, this does not depend on what else the machine does.
        print(f"{1000 * spent / looks:.0f} ms of processor time a request, all the rest included")
        for name, times in found.items():
            cut = statistics.quantiles(times, n=20)
            print(f"{name}: {len(times)} requests, median {1000 * statistics.median(times):.0f} ms,"
                  f" 95 % within {1000 * cut[-1]:.0f} ms")  # fmt: skip


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 30)
