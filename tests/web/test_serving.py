"""`kurabe serve` as a person starts it, and a study that grows while its page is open."""

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from made_study import STUDY, scores

from kurabe.records import StudyFolder
from kurabe.web import Library

from conftest import Serving  # isort: skip


@pytest.fixture
def started(runs, tmp_path):
    command = [sys.executable, "-m", "kurabe", "serve", "--runs", str(runs), "--port", "0",
               "--lang", "ja"]  # fmt: skip
    environment = {**os.environ, "KURABE_CACHE": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    yield process
    process.terminate()
    assert process.wait(20) is not None
    process.stdout.close()


def get(address):
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_serve_says_the_address_of_the_seeds_pair_with_results(started):
    address = started.stdout.readline().strip()
    assert re.fullmatch(
        r"http://127\.0\.0\.1:\d+/ja/compare\?slugs=transfer-learning-with-diffusion-models,"
        r"self-supervised-diffusion-model&study=scans",
        address,
    )
    status, page = get(address)
    assert status == 200
    assert "拡散モデルを用いた転移学習が優位" in page
    root = address.partition("/ja")[0]
    status, page = get(f"{root}/ja/compare?slugs=" + "a" * 100_000)
    assert status == 414
    assert "アドレスが長すぎます" in page


def test_fifty_clients_at_once_all_get_the_same_page(started):
    address = started.stdout.readline().strip()
    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(get, [address] * 50))
    assert {status for status, _ in answers} == {200}
    assert {page for _, page in answers} == {get(address)[1]}


def test_the_site_needs_no_torch():
    code = "import kurabe.web, kurabe.commands.serving, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture
def growing(tmp_path):
    folder = StudyFolder(tmp_path / "growing")
    folder.path.mkdir()
    columns = "".join(f'[[columns]]\nid = "{c}"\nmethod = "{c}"\n' for c in ("ddpm", "lora"))
    folder.study_path.write_text(STUDY.format(baseline="ddpm", blocks=1) + columns)
    library = Library(tmp_path, shipped=tmp_path / "none")
    library.refresh()
    serving = Serving(library)
    yield folder, serving.address
    serving.stop()


def test_a_study_grows_on_the_open_page(browser, growing):
    folder, address = growing
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{address}/en/studies/growing")
    assert page.locator("[data-run='ddpm/1']").inner_text().strip() == "Not begun"
    run = folder.run("ddpm", 1)
    info = {"id": "run-1", "method": "ddpm", "block": 1, "budget_images": 1000, "seconds": 30.0}
    run.create("seed = 1\n", info)
    with run.writing():
        run.update(status="running", images_seen=250)
        # 30 s for a quarter: 90 s are left.
        page.get_by_role("link", name="25 % · About 2 min left").wait_for()
        assert page.locator("[data-run='ddpm/1'] meter").evaluate("m => m.value") == 0.25
        run.write_samples(np.zeros((4, 8, 8, 3), np.uint8), range(4), 1000)
        run.write_scores("scores", scores({"kid": {"ddpm": [0.1]}}, "ddpm", 1))
        run.update(status="finished", images_seen=1000)
    page.get_by_text("1 of 2 runs finished").wait_for()
    page.locator("#row-kid").wait_for()
    assert page.locator("#row-kid td").first.inner_text().startswith(".100")
    assert page.locator("#row-samples img").count() == 1
    context.close()
