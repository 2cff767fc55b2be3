"""A study that one process runs is seen growing on a page that another one serves."""

import itertools
import json
import os
import subprocess
import sys
import time
import urllib.request

import pytest
from tiny_study import STUDY

from kurabe.records import StudyFolder


@pytest.fixture
def begun(tmp_path):
    """Two terminals: `kurabe serve` over a folder, and `kurabe study` that writes into it."""
    runs = tmp_path / "runs"
    runs.mkdir()
    (tmp_path / "tiny.toml").write_text(STUDY.format(workers=1, images=60000))
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}

    def start(*words):
        return subprocess.Popen(
            [sys.executable, "-m", "kurabe", *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        )  # fmt: skip

    serving = start("serve", "--runs", runs, "--port", "0", "--lang", "en")
    address = serving.stdout.readline().partition("/en/")[0]
    study = start("study", tmp_path / "tiny.toml", "--yes", "--out", runs / "tiny", "--lang", "en")
    yield study, address, StudyFolder(runs / "tiny")
    for process in (study, serving):
        process.terminate()
        process.communicate(timeout=60)


def wait_until(check, seconds, study):
    deadline = time.monotonic() + seconds
    while not check():
        assert study.poll() in (None, 0), study.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.3)


@pytest.mark.slow
def test_a_study_of_another_process_grows_on_the_open_page(browser, begun, tmp_path):
    study, address, folder = begun

    def progress():
        with urllib.request.urlopen(f"{address}/api/studies/tiny/progress", timeout=60) as answer:
            return json.load(answer)

    wait_until(lambda: folder.exists, 300, study)
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(f"{address}/en/studies/tiny")
    page.evaluate("window.opened = 'once'")
    seen = []

    def look():
        shares = page.eval_on_selector_all("#progress meter", "all => all.map(m => m.value)")
        if not seen or seen[-1] != shares:
            seen.append(shares)
            if pictures := os.environ.get("KURABE_PICTURES"):
                page.screenshot(path=f"{pictures}/growing-{len(seen)}.png", full_page=True)
        return page.locator("[data-progress=text]").inner_text() == "2 of 2 runs finished"

    wait_until(look, 600, study)
    # Each run was seen on its way, the first before the second; no share ever went back.
    assert seen[0] == [0, 0]
    assert seen[-1] == [1, 1]
    assert all(any(0 < shares[run] < 1 for shares in seen) for run in (0, 1))
    for before, now in itertools.pairwise(seen):
        assert all(a <= b for a, b in zip(before, now, strict=True))
    assert progress()["finished"] == 2
    # What the page shows in the end is what the runs measured, and it was never loaded anew.
    values = page.locator("#row-held-out-loss td .value")
    values.nth(1).wait_for(timeout=60_000)
    shown = values.all_inner_texts()
    runs = [folder.run(column, 1) for column in ("masked", "ddpm")]
    losses = [run.score("scores")["metrics"]["held-out-loss"]["value"] for run in runs]
    assert [float(text) for text in shown] == pytest.approx(losses, abs=6e-5)
    assert page.locator("#row-samples td > .tiles img").count() == 2
    assert page.evaluate("window.opened") == "once"
    study.wait(120)
