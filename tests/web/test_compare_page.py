"""What a reader does with the compare page, in a real Chromium: the address holds all of it."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest

PAIR = "transfer-learning-with-diffusion-models,self-supervised-diffusion-model"
TRANSFER, SELF_SUPERVISED = PAIR.split(",")
STUDY = f"/ja/compare?slugs={PAIR},ddpm&study=scans"


def columns(page):
    links = page.locator("thead th > a:first-child")
    return [link.get_attribute("href").rpartition("/")[2] for link in links.all()]


def state(page):
    query = parse_qs(urlsplit(page.url).query)
    return {key: values[0] for key, values in query.items()}


@pytest.mark.parametrize("script", [True, False])
def test_columns_go_down_to_none_and_come_back(open_page, script):
    page = open_page(f"/ja/compare?slugs={PAIR}", java_script_enabled=script)
    page.get_by_label("自己教師あり拡散モデルを比較から外す").click()
    page.wait_for_url(f"**/ja/compare?slugs={TRANSFER}")
    assert columns(page) == [TRANSFER]
    assert "もう1つ選ぶと比較できます" in page.locator(".introduction").all_inner_texts()
    assert page.locator(".mark").count() == 0
    page.get_by_label("拡散モデルを用いた転移学習を比較から外す").click()
    page.wait_for_url("**/ja/compare")
    assert page.locator("table").count() == 0
    assert "もう1つ選ぶと比較できます" in page.locator(".introduction").all_inner_texts()
    page.go_back()
    page.wait_for_url(f"**/ja/compare?slugs={TRANSFER}")
    page.locator("thead th").wait_for()
    page.locator("#add").select_option(SELF_SUPERVISED)
    page.locator(".add button").click()
    page.wait_for_url(f"**/ja/compare?slugs={PAIR}")
    assert columns(page) == PAIR.split(",")


def test_a_third_method_is_added_and_the_address_alone_brings_it_back(open_page):
    page = open_page(f"/en/compare?slugs={PAIR}")
    page.locator("#add").select_option("lora")
    page.locator(".add button").click()
    page.wait_for_url("**,lora")
    where = urlsplit(page.url)
    again = open_page(f"{where.path}?{where.query}")
    assert columns(again) == [*PAIR.split(","), "lora"]
    assert again.locator("main").inner_html() == page.locator("main").inner_html()


@pytest.mark.slow
def test_the_language_switch_keeps_the_view(open_page):
    page = open_page(f"{STUDY}&only=1")
    page.get_by_role("link", name="English").click()
    page.wait_for_url("**/en/compare?**")
    assert state(page) == {"slugs": f"{PAIR},ddpm", "study": "scans", "only": "1"}
    assert page.locator("html").get_attribute("lang") == "en"


def test_only_differing_rows(open_page):
    page = open_page(f"/ja/compare?slugs={PAIR}")
    switch = page.get_by_role("switch", name="異なる行だけ表示")
    assert switch.get_attribute("aria-checked") == "false"
    switch.click()
    page.wait_for_url("**only=1")
    keys = page.locator("tr[data-key]").evaluate_all("rows => rows.map(row => row.dataset.key)")
    assert keys == [
        *("proposed_year", "proposed_by", "kind", "related", "summary"), "start", "objective",
    ]  # fmt: skip
    page.get_by_role("switch", name="異なる行だけ表示").press("Space")
    page.wait_for_function("() => !location.search.includes('only')")
    # The nine facts of the seed, and seven rows of how a method works.
    assert page.locator("tr[data-key]").count() == 9 + 7


@pytest.mark.slow
def test_any_column_becomes_the_baseline_and_deltas_turn_round(open_page):
    page = open_page(STUDY)
    kid = page.locator("#row-kid td")
    # The study's own baseline is scratch: .021 − .101 and .094 − .101.
    assert kid.nth(0).locator(".delta").inner_text().startswith("−.080")
    assert kid.nth(2).locator(".delta").count() == 0
    assert "better" in kid.nth(0).locator(".delta").get_attribute("class")
    menu = page.locator("thead th").first.locator(".menu")
    menu.locator("summary").click()
    menu.get_by_text("基準にする").click()
    page.wait_for_url("**baseline=**")
    kid = page.locator("#row-kid td")
    assert kid.nth(0).locator(".delta").count() == 0
    assert kid.nth(1).locator(".delta").inner_text().startswith("+.073")
    assert kid.nth(2).locator(".delta").inner_text().startswith("+.080")
    assert "worse" in kid.nth(2).locator(".delta").get_attribute("class")
    assert page.locator("thead .badge").inner_text() == "基準"


def test_pairs_on_demand_and_for_a_question_mark_the_gap_and_the_command(open_page):
    page = open_page(STUDY)
    assert page.locator(".pairs").count() == 0
    page.locator("#row-own-view-recall + tr").get_by_role("button").click()
    page.wait_for_url("**pairs=own-view-recall#row-own-view-recall")
    pairs = page.locator(".pairs li")
    assert pairs.count() == 3
    unclear = pairs.filter(has_text="判定保留")
    assert unclear.count() >= 1
    assert "検出可能な最小差" in unclear.first.inner_text()
    answer = page.locator(".answers dl > div").filter(has_text="特徴")
    assert re.search(r"kurabe study .*scans --seeds \d+", answer.locator("code").inner_text())


@pytest.mark.slow
def test_a_command_is_copied(open_page):
    page = open_page(STUDY, permissions=["clipboard-read", "clipboard-write"])
    answer = page.locator(".answers dl > div").filter(has_text="特徴")
    answer.get_by_role("button", name="コマンドをコピー").click()
    answer.get_by_role("button", name="コピーしました").wait_for()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied == answer.locator("code").inner_text()


@pytest.mark.slow
def test_columns_are_sorted_moved_and_pinned(open_page):
    page = open_page(f"/ja/compare?slugs=ddpm,{PAIR}&study=scans")
    page.locator("#row-kid + tr").get_by_text("この行で並べ替え").click()
    page.wait_for_function("() => decodeURIComponent(location.search).includes('slugs=transfer')")
    assert columns(page) == [*PAIR.split(","), "ddpm"]
    menu = page.locator("thead th").nth(2).locator(".menu")
    menu.locator("summary").click()
    menu.get_by_text("左へ移動").click()
    page.wait_for_function(
        "() => document.querySelectorAll('thead th')[1].innerText.includes('DDPM')"
    )
    menu = page.locator("thead th").nth(1).locator(".menu")
    menu.locator("summary").click()
    menu.get_by_text("固定する").click()
    page.wait_for_url("**pin=ddpm")
    place = page.locator("th.pinned").evaluate("cell => getComputedStyle(cell).position")
    assert place == "sticky"


@pytest.mark.slow
def test_cells_say_what_was_not_measured_and_which_command_would_fill_them(open_page):
    page = open_page("/ja/compare?slugs=transfer-learning-with-diffusion-models,lora&study=scans")
    cell = page.locator("#row-kid td").nth(1)
    assert cell.inner_text().startswith("—")
    assert "未測定" in cell.inner_text()
    assert cell.locator("code").inner_text() == "kurabe study scans --add lora"


@pytest.mark.slow
def test_samples_come_from_the_same_noise_and_the_nearest_on_demand(open_page):
    page = open_page(STUDY)
    images = page.locator("#row-samples td > .tiles img")
    assert images.count() == 3
    for image in images.all():
        image.scroll_into_view_if_needed()
        assert image.evaluate("i => i.decode().then(() => [i.naturalWidth, i.naturalHeight])") == [
            3 * 32 + 2, 4 * 32 + 3,
        ]  # fmt: skip
    page.locator("#row-samples summary").first.click()
    nearest = page.locator("#row-samples details img").first
    assert "nearest" in nearest.get_attribute("src")


def test_everything_is_reached_by_keyboard(open_page):
    page = open_page(f"/ja/compare?slugs={PAIR}")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(
            "() => document.activeElement.getAttribute('aria-label')"
            " || document.activeElement.textContent.trim() || document.activeElement.id"
        ))  # fmt: skip
    wanted = {"本文へ移動", "カタログ", "異なる行だけ表示", "追加", "手法を比較", "CSV",
              "自己教師あり拡散モデルを比較から外す", "link ↗", "English"}  # fmt: skip
    assert wanted <= reached
    cross = page.get_by_label("自己教師あり拡散モデルを比較から外す")
    cross.focus()
    ring = cross.evaluate("a => getComputedStyle(a).outlineStyle")
    assert ring == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url(f"**slugs={TRANSFER}")


@pytest.mark.parametrize("size", [(1280, 600), (700, 600)])
def test_what_has_the_focus_is_not_behind_what_stays_in_sight(open_page, size):
    page = open_page(
        f"{STUDY}&pin=ddpm", viewport=dict(zip(("width", "height"), size, strict=True))
    )
    hidden = page.evaluate("""() => [...document.querySelectorAll(".scroll :is(a, summary)")]
        .filter((e) => e.checkVisibility())
        .reverse()
        .filter((e) => {
          e.focus();
          const r = e.getClientRects()[0];
          const top = document.elementFromPoint(r.left + r.width / 2, r.top + r.height / 2);
          return !(top && (e.contains(top) || top.contains(e)));
        })
        .map((e) => e.outerHTML)""")
    assert hidden == []


def test_a_place_within_the_catalogue_leaves_what_was_ticked(open_page):
    page = open_page("/ja/")
    page.locator("#pick-lora").check()
    page.evaluate("() => { document.querySelector('main').dataset.same = 'yes'; }")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**#content")
    page.go_back()
    page.wait_for_function("() => location.hash === ''")
    page.wait_for_load_state("networkidle")
    assert page.locator("main").get_attribute("data-same") == "yes"
    assert page.locator("#pick-lora").is_checked()
    page.locator("#pick-ddpm").check()
    assert page.locator("#compare").inner_text() == "比較する（2）"


def test_a_phone_scrolls_the_table_and_not_the_page(open_page):
    page = open_page(STUDY, viewport={"width": 360, "height": 740})
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    box = page.locator(".scroll").first
    assert box.evaluate("b => b.scrollWidth > b.clientWidth")
    box.evaluate("b => b.scrollTo(200, 300)")
    left, top = box.evaluate(
        "b => { const r = b.querySelector('tbody th[scope=row]').getBoundingClientRect();"
        " const h = b.querySelector('thead th').getBoundingClientRect();"
        " const o = b.getBoundingClientRect(); return [r.left - o.left, h.top - o.top]; }"
    )
    assert abs(left) <= 1 and abs(top) <= 1.5, "first column and header row stay in sight"
    assert min(page.locator("thead th").evaluate_all(
        "cells => cells.map(c => c.getBoundingClientRect().width)")) > 120  # fmt: skip
    grids = page.locator("#row-samples td > .tiles")
    assert grids.count() == 3
    # 3 × 32 pixels and 2 gaps, each two pixels wide, and nothing of them out of sight.
    assert (
        grids.locator("img").evaluate_all("images => images.map(i => i.clientWidth)") == [196] * 3
    )
    assert (
        grids.evaluate_all("grids => grids.map(g => g.scrollWidth > g.clientWidth)") == [False] * 3
    )


@pytest.mark.slow
def test_the_header_row_stays_in_sight_while_the_page_scrolls(open_page):
    page = open_page(f"/ja/compare?slugs={PAIR}")
    page.evaluate("() => scrollTo(0, 700)")
    assert page.locator("thead th").first.bounding_box()["y"] == pytest.approx(0, abs=1.5)


@pytest.mark.slow
def test_dark_follows_the_system_and_can_be_chosen_and_is_remembered(open_page):
    def paper(page):
        return page.evaluate("() => getComputedStyle(document.body).backgroundColor")

    light, dark = "rgb(251, 250, 247)", "rgb(23, 24, 26)"
    page = open_page(f"/ja/compare?slugs={PAIR}", color_scheme="dark")
    assert paper(page) == dark
    page.get_by_label("ライト").check()
    assert paper(page) == light
    page.reload()
    assert paper(page) == light
    assert page.get_by_label("ライト").is_checked()


@pytest.mark.slow
def test_print_shows_the_whole_table_and_no_tools(open_page):
    page = open_page(STUDY)
    page.emulate_media(media="print")
    assert not page.locator("a.remove").first.is_visible()
    assert not page.locator(".tools").is_visible()
    box = page.locator(".scroll").first
    assert box.evaluate("b => getComputedStyle(b).overflow") in ("visible", "clip")
    assert page.locator("#row-samples").is_visible()
