"""What the site answers: right statuses, clear words, nothing executed, nothing outside served."""

import html
import io
import json
import os
import re

import numpy as np
import pytest
from made_study import scans, study
from PIL import Image
from starlette.testclient import TestClient

from kurabe.methods import catalogue
from kurabe.web import Library, create_app
from kurabe.web.grids import sheet

PAIR = "transfer-learning-with-diffusion-models,self-supervised-diffusion-model"
TRANSFER, SELF_SUPERVISED = PAIR.split(",")
NINE = ",".join(list(catalogue())[:9])
GRID = "runs/transfer/block-1/samples/samples-0000012800-seed-0-15.png"


def heading(answer):
    found = re.search(r'<p class="problem">(.*?)</p>', answer.text, re.S)
    return found[1] if found else None


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/ja/compare?slugs=lorra", 404, "手法「lorra」は見つかりません"),
        ("/en/compare?slugs=lorra", 404, "No method “lorra”"),
        (f"/ja/compare?slugs={NINE}", 400, "9 列は並べられません"),
        ("/ja/methods/nothing", 404, "手法「nothing」は見つかりません"),
        (f"/ja/compare?slugs={PAIR}&study=gone", 404, "比較実験「gone」は見つかりません"),
        (f"/ja/compare?slugs={PAIR}&study=../../etc", 404, "比較実験「../../etc」は見つかりません"),
        (f"/ja/compare?slugs={PAIR}&baseline=lora", 400, "基準「lora」は比較中の列にありません"),
        ("/ja/compare/export/pickle?slugs=lora", 404, "形式「pickle」では書き出せません"),
        ("/ja/studies/gone", 404, "比較実験「gone」は見つかりません"),
        ("/ja/studies/" + "x" * 300, 404, "比較実験「xxx"),
        ("/en/runs/gone", 404, "No run “gone”"),
        ("/en/runs/..%2f..%2fetc", 404, "No run “../../etc”"),
        ("/ja/runs/%00", 404, "実行「"),
        ("/fr/", 404, "No language “fr”"),
        ("/ja/nothing/here", 404, "ページ「/ja/nothing/here」は見つかりません"),
        ("/ja/blind?study=scans&first=transfer&second=transfer&seed=1", 404, "同じ初期ノイズ"),
        ("/ja/blind?study=scans&first=transfer&second=scratch&seed=1&answers=LX", 400, "L と R"),
        (
            "/ja/blind?study=scans&first=transfer&second=lora",
            404,
            "手法「lora」は比較実験「scans」にありません",
        ),
        ("/ja/blind?study=scans&first=transfer&second=lorra", 404, "「lorra」は見つかりません"),
        ("/ja/compare?slugs=<script>alert(1)</script>", 404, "&lt;script&gt;"),
        ("/ja/?q=<script>alert(1)</script>", 200, None),
        ("/ja/compare?slugs=" + "a" * 20_000, 414, "アドレスが長すぎます。"),
    ],
)
def test_a_wrong_request_gets_its_status_and_a_clear_sentence(client, address, status, words):
    answer = client.get(address)
    assert answer.status_code == status
    assert "<script>" not in answer.text
    assert "Traceback" not in answer.text
    if words:
        assert words in heading(answer)
    lang = "en" if address.startswith(("/en", "/fr")) else "ja"
    assert f'<html lang="{lang}">' in answer.text


def test_an_unknown_method_is_answered_with_what_comes_near(client):
    assert 'href="/en/methods/lora"' in client.get("/en/methods/low-rank").text


@pytest.mark.parametrize(
    "address",
    ["/", "/ja/", f"/ja/compare?slugs={PAIR}", "/ja/nothing", "/api/methods", "/static/site.css"],
)
def test_every_answer_carries_a_strict_policy(client, address):
    headers = client.get(address).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_no_page_has_a_script_or_a_style_of_its_own(client):
    for address in ("/ja/", f"/ja/compare?slugs={PAIR}&study=scans", "/ja/studies/scans",
                    "/ja/runs/transfer-1", "/ja/methods/lora"):  # fmt: skip
        text = client.get(address).text
        assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
        assert re.findall(r"<style|\sstyle=|\son[a-z]+=", text) == []


@pytest.mark.parametrize(
    ("wanted", "lang"),
    [("ja,en;q=0.5", "ja"), ("de,en-GB;q=0.8,ja;q=0.9", "ja"), ("fr", "en"), ("", "en"),
     ("en;q=x,ja;q=0.1", "ja")],
)  # fmt: skip
def test_addresses_without_a_language_lead_to_the_readers(client, wanted, lang):
    answer = client.get(f"/compare?slugs={PAIR}", headers={"accept-language": wanted})
    assert answer.status_code == 307
    assert answer.headers["location"] == f"/{lang}/compare?slugs={PAIR}"
    assert answer.headers["vary"] == "Accept-Language"


def test_other_forms_of_an_address_lead_to_the_one(client):
    answer = client.get("/ja/compare?slugs=lora&slugs=ddpm&slugs=lora&study=scans")
    assert answer.status_code == 307
    assert answer.headers["location"] == "/ja/compare?slugs=lora,ddpm&study=scans"
    assert client.get("/ja/compare?slugs=lora,lora").headers["location"].endswith("slugs=lora")


def test_an_address_keeps_what_the_page_knows_and_nothing_else(client):
    ticked = "/ja/compare?q=lora&branch=&runs=1&study=scans&slugs=lora"
    assert client.get(ticked).headers["location"] == "/ja/compare?slugs=lora&study=scans"
    view = f"slugs={PAIR}&study=scans&baseline={TRANSFER}&pin={SELF_SUPERVISED}&only=1&pairs=kid"
    assert client.get(f"/ja/compare?{view}").status_code == 200
    leads = client.get("/ja?q=lora&runs=1")
    assert (leads.status_code, leads.headers["location"]) == (307, "/ja/?q=lora&runs=1")


def test_adding_a_method_by_the_form_keeps_the_view(client):
    rest = f"study=scans&baseline={TRANSFER}&pin={SELF_SUPERVISED}&only=1&pairs=kid"
    page = client.get(f"/ja/compare?slugs={PAIR}&{rest}").text
    form = re.search(r'<form class="add" action="([^"]+)">(.*?)</form>', page, re.S)
    sent = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form[2])
    answer = client.get(form[1], params=[*sent, ("slugs", "ddpm")])
    assert answer.headers["location"] == f"/ja/compare?slugs={PAIR},ddpm&{rest}"


def test_pages_can_only_be_read(client):
    assert client.post(f"/ja/compare?slugs={PAIR}").status_code == 405
    assert client.head("/ja/").status_code == 200


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("てんいがくしゅう", "transfer-learning-with-diffusion-models"),
        ("ＬｏＲＡ", "lora"),
        ("ファインチューニング", "full-fine-tuning"),
        ("自己教師付き", "self-supervised-diffusion-model"),
        ("SSDM", "self-supervised-diffusion-model"),
    ],
)
def test_search_forgives_width_readings_and_synonyms(client, text, found):
    page = client.get("/ja/", params={"q": text}).text
    assert f'id="pick-{found}"' in page
    assert page.count('id="pick-') < len(catalogue())


def test_filters_narrow_and_keep_what_was_ticked(client):
    page = client.get("/ja/?branch=self-supervised-diffusion-model&runs=1&slugs=lora").text
    shown = set(re.findall(r'id="pick-([a-z0-9-]+)"', page))
    family = {"self-supervised-diffusion-model"} | {
        m.id for m in catalogue().values() if "self-supervised-diffusion-model" in m.card.broader
    }
    assert shown == {key for key in family if catalogue()[key].runs}
    assert '<input type="hidden" name="slugs" value="lora">' in page
    assert "比較する（1）" in page


def test_sample_grids_are_served_and_nothing_else(client, runs):
    assert client.get(f"/samples/scans?file={GRID}").headers["content-type"] == "image/png"
    outside = runs.parent / "samples"
    outside.mkdir(exist_ok=True)
    (outside / "secret.png").write_bytes(b"behind the wall")
    link = runs / "scans/runs/transfer/block-1/samples/link.png"
    link.symlink_to(outside / "secret.png")
    try:
        below = "runs/transfer/block-1"
        for file in ("study.toml", f"{below}/run.json", "../../samples/secret.png",
                     str(outside / "secret.png"), "/etc/passwd", "", f"{below}/samples",
                     f"{below}/samples/link.png", "x" * 5000):  # fmt: skip
            answer = client.get("/samples/scans", params={"file": file})
            assert answer.status_code == 404, file
            assert b"behind the wall" not in answer.content
    finally:
        link.unlink()


@pytest.fixture
def broken(tmp_path):
    """A study with a half-written run, an unreadable one, and markup in what is shown."""
    folder = scans(tmp_path / "<b>odd&name")
    half = folder.path / "runs" / "transfer" / "block-9"
    half.mkdir(parents=True)
    (half / "recipe.toml").write_text("seed = 1")
    folder.run("transfer", 2).info_path.write_text('{"schema": 1, "status"')
    run = folder.run("scratch", 3)
    run.update(id="<img src=x onerror=alert(1)>", error="<script>alert(2)</script>")
    library = Library(tmp_path, shipped=tmp_path / "none")
    library.refresh()
    return TestClient(create_app(library))


def test_a_half_written_run_is_shown_and_the_rest_stands(broken):
    page = broken.get("/en/studies/%3Cb%3Eodd%26name")
    assert page.status_code == 200
    assert "19 of 20 runs finished" in page.text
    assert 'class="is-failed"' in page.text
    assert "<b>odd" not in page.text
    assert "onerror=alert(1)>" not in page.text
    assert page.text.count('data-run="transfer/') == 5


def test_a_name_that_means_something_in_addresses_is_quoted(tmp_path):
    scans(tmp_path / "a?b#c d")
    library = Library(tmp_path, shipped=tmp_path / "none")
    library.refresh()
    client = TestClient(create_app(library))
    link = re.search(r'href="(/en/studies/[^"]+)"', client.get("/en/studies").text)[1]
    page = client.get(link)
    assert page.status_code == 200
    links = re.findall(r'(?:href|src)="([^"]*a%3Fb[^"]*)"', page.text)
    assert len(links) > 20
    for link in links:
        assert client.get(html.unescape(link)).status_code in (200, 307), link


def test_of_two_runs_with_one_id_the_studys_own_is_shown(tmp_path):
    seeds = {"first": 4711, "second": 4712}
    for name, seed in seeds.items():
        scans(tmp_path / name).run("transfer", 1).update(seed=seed)
    library = Library(tmp_path, shipped=tmp_path / "none")
    library.refresh()
    client = TestClient(create_app(library))
    for name in ("first", "second"):
        study = client.get(f"/en/studies/{name}").text
        link = re.search(r'href="(/en/runs/transfer-1\?[^"]+)"', study)[1]
        page = client.get(link).text
        assert f"<dd>{seeds[name]}</dd>" in page
        image = html.unescape(re.search(r'src="(/run-samples/[^"]+)"', page)[1])
        assert client.get(image).headers["content-type"] == "image/png"
        record = client.get("/api/runs/transfer-1", params={"study": name}).json()
        assert record["info"]["seed"] == seeds[name]


def test_nothing_tells_where_the_machine_keeps_the_runs(broken, tmp_path):
    runs = broken.get("/api/runs").json()
    assert len(runs) == 20
    assert {run["status"] for run in runs} == {"finished", "unreadable"}
    half = "%3Cb%3Eodd%26name/runs/transfer/block-2"
    for address in ("/api/runs", f"/api/runs/{half}", f"/en/runs/{half}"):
        text = broken.get(address).text
        assert "run.json" in text
        assert str(tmp_path) not in text, address


def test_markup_in_records_is_text(broken):
    page = broken.get("/en/runs/%3Cimg%20src=x%20onerror=alert(1)%3E")
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "<img src=x" not in page.text
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in page.text


def test_markup_in_a_card_is_text(client, monkeypatch):
    known = catalogue()
    bad = '"><script>alert(1)</script>'
    card = known["lora"].card
    text = card.name.model_copy(update={"ja": bad, "en": bad})
    summary = card.summary.model_copy(update={"ja": bad, "en": bad})
    evil = card.model_copy(update={"name": text, "summary": summary, "kind": text})
    monkeypatch.setitem(known, "lora", known["lora"].model_copy(update={"card": evil}))
    for address in ("/ja/", "/ja/methods/lora", "/ja/compare?slugs=lora,ddpm", "/ja/?slugs=lora",
                    "/ja/methods/ddpm"):  # fmt: skip
        answer = client.get(address)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text


def test_a_study_changes_and_the_next_request_sees_it(tmp_path):
    folder = scans(tmp_path / "scans")
    library = Library(tmp_path, shipped=tmp_path / "none")
    library.refresh()
    client = TestClient(create_app(library))
    assert "20 of 20 runs finished" in client.get("/en/studies/scans").text
    run = folder.run("transfer", 5)
    run.update(status="interrupted")
    os.utime(run.info_path, ns=(1, 1))
    assert "19 of 20 runs finished" in client.get("/en/studies/scans").text
    progress = client.get("/api/studies/scans/progress?lang=ja").json()
    state = next(r for r in progress["runs"] if (r["column"], r["block"]) == ("transfer", 5))
    assert state["text"] == "中断（再開可）"


def test_the_folder_served_may_itself_be_a_study(tmp_path):
    folder = scans(tmp_path / "scans-study")
    library = Library(folder.path, shipped=tmp_path / "none")
    library.refresh()
    client = TestClient(create_app(library))
    assert [entry["name"] for entry in client.get("/api/studies").json()] == ["scans-study"]
    assert client.get("/ja/studies/scans-study").status_code == 200


def test_the_api_answers_with_the_pages_table(client):
    table = client.get(f"/api/compare?slugs={PAIR}&lang=ja&study=scans").json()
    rows = {row["key"]: row for row in table["rows"]}
    assert list(rows)[:9] == ["field", "family", "proposed_year", "proposed_by", "kind", "source",
                              "aliases", "related", "summary"]  # fmt: skip
    assert rows["related"]["values"] == [5, 2]
    assert rows["proposed_year"]["mark"] == "≠"
    assert len(rows["kid"]["cells"][0]["estimate"]["blocks"]) == 5
    assert client.get("/api/runs?method=ddpm").json()[0]["method"] == "ddpm"
    assert client.get("/api/runs/transfer-1").json()["info"]["id"] == "transfer-1"


@pytest.mark.parametrize(
    ("address", "status"),
    [("/api/compare?slugs=lorra&lang=ja", 404), (f"/api/compare?slugs={NINE}", 400),
     ("/api/studies/gone", 404), ("/api/runs?limit=0", 422), ("/api/nothing", 404),
     ("/api/methods?q=" + "a" * 20_000, 414), ("/api/runs/" + "a" * 20_000, 414)],
)  # fmt: skip
def test_the_api_says_what_is_wrong_as_json(client, address, status):
    answer = client.get(address)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "near"}
    assert answer.json()["error"]


def test_a_wrong_verb_is_told_the_right_ones(client):
    for method in ("TRACE", "DELETE", "POST"):
        for address, allowed in (("/api/studies/scans", "GET"), ("/ja/studies", "GET, HEAD")):
            answer = client.request(method, address)
            assert answer.status_code == 405
            assert answer.headers["allow"] == allowed


def test_openapi_describes_every_twin(client):
    paths = json.loads(client.get("/api/openapi.json").text)["paths"]
    assert set(paths) == {
        "/api/methods", "/api/methods/{id}", "/api/compare", "/api/studies",
        "/api/studies/{name}", "/api/studies/{name}/progress", "/api/runs", "/api/runs/{key}",
    }  # fmt: skip


def test_a_blind_comparison_counts_the_picks_whichever_side_they_stood_on(client, runs):
    test = "study=scans&first=transfer&second=scratch&seed=7"
    transfer = {sheet(runs / "scans" / GRID, first, 4, 2) for first in (0, 4, 8, 12)}
    lefts = [client.get(f"/blind-samples/{k}/left?{test}").content in transfer for k in range(4)]
    assert len(set(lefts)) == 2, "this seed puts the first column on either side"
    picks = "".join("L" if left else "R" for left in lefts)
    page = client.get(f"/en/blind?{test}&answers={picks}").text
    assert "was picked in 4 of 4 questions" in page
    # Clopper and Pearson's lower bound of 4 of 4 is .025^(1/4) = .398.
    assert "Share 1.00 (95% confidence interval .40–1.00; .50 by chance)" in page
    others = picks.translate(str.maketrans("LR", "RL"))
    page = client.get(f"/en/blind?{test}&answers={others}").text
    assert "was picked in 0 of 4 questions" in page
    assert "(95% confidence interval .00–.60; .50 by chance)" in page


def blind_links(client, address):
    links = re.findall(r'href="(/[a-z]+/blind[^"]+)"', client.get(address).text)
    return [html.unescape(link) for link in links]


def test_the_blind_test_is_offered_where_it_can_be_taken(client):
    link = "/ja/blind?study=scans&first=transfer&second=scratch"
    for slugs in (f"{TRANSFER},ddpm", f"{TRANSFER},lora,ddpm", f"lora,{TRANSFER},ddpm"):
        assert blind_links(client, f"/ja/compare?slugs={slugs}&study=scans") == [link]
    asked = client.get(link, follow_redirects=True)
    assert asked.status_code == 200
    assert "1 / 4 問目" in asked.text
    for slugs in (f"{TRANSFER},lora", TRANSFER, "lora,ddpm"):
        assert blind_links(client, f"/ja/compare?slugs={slugs}&study=scans") == []
    assert blind_links(client, f"/ja/compare?slugs={TRANSFER},ddpm") == []
    first, second = "first=transfer", "second=self-supervised"
    assert blind_links(client, "/en/studies/scans") == [f"/en/blind?study=scans&{first}&{second}"]


def test_two_methods_of_one_column_are_no_pair_for_a_blind_test(tmp_path):
    family = catalogue()[SELF_SUPERVISED]
    folder = scans(tmp_path / "scans")
    text = folder.study_path.read_text("utf-8")
    folder.study_path.write_text(text.replace(family.id, family.default), "utf-8")
    library = Library(tmp_path, shipped=tmp_path / "none")
    library.refresh()
    client = TestClient(create_app(library))
    both = f"{family.id},{family.default}"
    page = client.get(f"/ja/compare?slugs={both}&study=scans").text
    assert page.count('<img src="/samples/scans?file=runs/self-supervised/block-1/samples/s') == 2
    assert blind_links(client, f"/ja/compare?slugs={both}&study=scans") == []
    assert blind_links(client, f"/ja/compare?slugs={both},ddpm&study=scans") == [
        "/ja/blind?study=scans&first=self-supervised&second=scratch"
    ]


@pytest.mark.parametrize("side", [16, 28, 32, 48, 64, 96, 128, 256])
def test_every_pixel_of_a_sample_is_shown_equally_large(tmp_path, side):
    folder = study(tmp_path / "scans", {"kid": {"transfer": [0.1], "scratch": [0.2]}})
    tiles = np.zeros((16, side, side, 3), np.uint8)
    for column in ("transfer", "scratch"):
        folder.run(column, 1).write_samples(tiles, range(16), 100)
    library = Library(tmp_path, shipped=tmp_path / "none")
    library.refresh()
    client = TestClient(create_app(library))
    for address, room in (
        (f"/ja/compare?slugs={TRANSFER},ddpm&study=scans", 196),
        ("/ja/blind?study=scans&first=transfer&second=scratch&seed=1", 260),
        ("/ja/runs/transfer-1", 1000),
    ):
        images = re.findall(r"<img [^>]+>", client.get(address).text)
        assert images
        for image in images:
            source, width, height = (
                html.unescape(re.search(f' {name}="([^"]+)"', image)[1])
                for name in ("src", "width", "height")
            )
            with Image.open(io.BytesIO(client.get(source).content)) as picture:
                factor, rest = divmod(int(width), picture.width)
                assert (rest, int(height)) == (0, factor * picture.height)
                assert factor >= 1
                # One tile is shown whole however large it is; more only where there is room.
                assert int(width) <= max(room, side if room == 196 else 8 * (side + 1))


def test_english_on_a_japanese_page_is_marked_as_english(client):
    page = client.get("/ja/methods/lora").text
    assert re.search(r'<li><span lang="en">Hu, [^<]*LoRA', page)
    assert '<span class="spoken" lang="en">W + (α / r) B A' in page
    found = client.get("/ja/?q=lora").text
    aliases = re.search(r'id="pick-lora".*?<p class="aliases">(.*?)</p>', found, re.S)[1]
    for alias in catalogue()["lora"].card.aliases.ja[:3]:
        assert (f'<span lang="en">{alias}</span>' in aliases) == alias.isascii()
