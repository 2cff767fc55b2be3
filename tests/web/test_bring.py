"""Bringing one's own study to the compare page by its path, in a real Chromium and by hand."""

import subprocess
import sys

import pytest
from starlette.testclient import TestClient

from kurabe.web import Library, create_app

from conftest import Serving  # isort: skip

RUNS = """column,seed,score
a,0,0.10
a,1,0.12
a,2,0.09
a,3,0.11
a,4,0.10
b,0,0.51
b,1,0.49
b,2,0.50
b,3,0.53
b,4,0.48
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a study of numbers that nothing here trained, as `kurabe numbers` makes it."""
    root = tmp_path_factory.mktemp("bring")
    (root / "runs.csv").write_text(RUNS, encoding="utf-8")
    words = ["numbers", "runs.csv", "--metric", "score=up,0.01", "--out", "brought/mine"]
    subprocess.run([sys.executable, "-m", "kurabe", *words], check=True, cwd=root)
    return root


@pytest.fixture(scope="module")
def mine(root):
    library = Library(root, shipped=root.parent / "no-shipped-studies")
    library.refresh()
    return library


@pytest.fixture(scope="module")
def served(mine):
    serving = Serving(mine)
    yield serving.address
    serving.stop()


@pytest.fixture(scope="module")
def client(mine):
    return TestClient(create_app(mine), follow_redirects=False)


@pytest.mark.parametrize("width", [390, 1200])
def test_the_field_is_wide_enough_for_a_path(open_page, width):
    """Fault: it was as wide as its own margins, 24 pixels."""
    page = open_page("/ja/compare?slugs=ddpm", viewport={"width": width, "height": 700})
    box = page.locator("#bring").bounding_box()
    assert box["width"] >= 200 and box["x"] + box["width"] <= width


@pytest.mark.parametrize("script", [True, False])
def test_a_path_inside_the_runs_folder_shows_its_study_like_any_other(open_page, script):
    page = open_page("/en/compare?slugs=ddpm", java_script_enabled=script)
    page.get_by_label("Bring your own").fill("brought/mine")
    page.get_by_role("button", name="Open").click()
    page.wait_for_url("**/en/studies/brought/mine")
    said = page.locator("main").inner_text()
    assert "≠ is a difference beyond the spread of the runs" in said
    assert "10 of 10 runs finished" in said
    assert page.locator("tbody tr", has_text="score").first.locator(".mark").count() >= 1


def test_the_whole_path_serves_as_well(client, root):
    answer = client.get("/ja/compare/bring", params={"path": f" {root}/brought/mine "})
    assert (answer.status_code, answer.headers["location"]) == (303, "/ja/studies/brought/mine")
    assert client.get(answer.headers["location"]).status_code == 200


def test_nothing_outside_the_runs_folder_is_opened(client, root, tmp_path):
    (tmp_path / "study.toml").write_text("name = 1", encoding="utf-8")
    (root / "link").symlink_to(tmp_path)
    (root / "loop").symlink_to("loop")
    places = ["..", "../..", "/", "/etc", str(tmp_path), "link", "loop/x", "brought/../../x", "~",
              "", "http://example.org/study", "//host/share", "\\\\host\\share", "file:///etc",
              "a" * 5000, "nowhere", "brought", "runs.csv", "mine\0"]  # fmt: skip
    for place in places:
        for lang in ("en", "ja"):
            answer = client.get(f"/{lang}/compare/bring", params={"path": place})
            assert answer.status_code in (404, 414), place
            assert str(root) not in answer.text
            assert "study.toml" not in answer.text
