"""The page that the product was asked for by, letter by letter, in a real Chromium.

The literals are the seed's; none is read from a card.
"""

import pytest

PAIR = "transfer-learning-with-diffusion-models,self-supervised-diffusion-model"
SOURCE = (
    "Ho, J., Jain, A., & Abbeel, P. (2020). Denoising Diffusion Probabilistic Models. Advances in "
    "Neural Information Processing Systems (NeurIPS), 33, 6840–6851. link ↗"
)
# Row's label, the two values as English literals, whether it carries ≠.
ROWS = [
    ("分野", "Field", "Deep learning", "Deep learning", False),
    ("系統", "Family", "Machine learning", "Machine learning", False),
    ("提唱年", "Proposed", "2020–2023", "2020–2022", True),
    (
        "提唱者",
        "Proposed by",
        "Ho et al. (DDPM); transfer application popularized by Rombach et al. (Stable Diffusion) "
        "and Ruiz et al. (DreamBooth), 2020–2023",
        "Ho, J. et al.; extended by Chen, T. et al. and subsequent self-supervised diffusion works",
        True,
    ),
    (
        "種類",
        "Kind",
        "Generative model with transfer learning",
        "Generative model with self-supervised representation objective",
        True,
    ),
    ("原典", "Original source", SOURCE, SOURCE, False),
    (
        "別名",
        "Aliases",
        "diffusion model fine-tuning\npre-trained diffusion transfer\nTL-DM\n"
        "domain-adapted diffusion model",
        "SSDM\nself-supervised score-based model\ndiffusion-based self-supervised learning\n"
        "denoising diffusion with self-supervised pretraining",
        False,
    ),
    ("関連", "Related", "5", "2", True),
    ("概要", "Summary", None, None, True),
]
HEADERS = {
    "ja": ["拡散モデルを用いた転移学習", "自己教師あり拡散モデル"],
    "en": ["Transfer learning with diffusion models", "Self-supervised diffusion model"],
}
READ = """
() => [...document.querySelectorAll("tbody.facts tr[data-key]")].map(row => ({
  label: row.querySelector("th").innerText.split("\\n")[0].replace("≠", "").trim(),
  mark: row.querySelector("th .mark")?.innerText ?? null,
  spoken: row.querySelector("th .spoken")?.textContent ?? null,
  cells: [...row.querySelectorAll("td")].map(cell => cell.innerText.trim()),
  colours: [...row.children].map(cell => getComputedStyle(cell).backgroundColor),
}))
"""


@pytest.fixture(params=["ja", "en"])
def lang(request):
    return request.param


def test_the_seeds_table_stands_on_the_page_without_a_script(open_page, lang):
    page = open_page(f"/{lang}/compare?slugs={PAIR}", java_script_enabled=False)
    assert page.locator("h1").inner_text() == {"ja": "手法を比較", "en": "Compare methods"}[lang]
    if lang == "ja":
        introduction = "選択した手法を並べて確認できます。異なる行はハイライト表示されます。"
        assert page.locator(".introduction").all_inner_texts() == [introduction]
    headers = page.locator("thead th")
    for place, name in enumerate(HEADERS[lang]):
        assert headers.nth(place).locator("a").first.inner_text() == name
        cross = headers.nth(place).locator("a.remove")
        assert cross.inner_text() == "×"
        spoken = {"ja": f"{name}を比較から外す", "en": f"Remove {name} from comparison"}[lang]
        assert cross.get_attribute("aria-label") == spoken


def test_rows_values_marks_and_highlight_are_the_seeds(open_page, lang):
    page = open_page(f"/{lang}/compare?slugs={PAIR}")
    rows = page.evaluate(READ)
    labels = [row[0 if lang == "ja" else 1] for row in ROWS]
    assert [row["label"] for row in rows] == labels
    marked = {row["colours"][0] for row in rows if row["mark"]}
    plain = {row["colours"][0] for row in rows if not row["mark"]}
    assert len(marked) == len(plain) == 1
    assert marked != plain
    for row, (_, _, first, second, differs) in zip(rows, ROWS, strict=True):
        assert (row["mark"] == "≠") == differs, row["label"]
        assert len(set(row["colours"])) == 1
        if differs:
            assert row["spoken"] == {"ja": "値が異なる", "en": "Values differ"}[lang]
        for text, expected in zip(row["cells"], (first, second), strict=True):
            if expected is None:
                assert len(text) >= 120
            elif lang == "en" or row["label"] in ("提唱年", "原典", "別名", "関連"):
                assert text.startswith(expected)
            else:
                assert text.endswith(expected), "the seed's literal stands beside the Japanese"


def test_japanese_cells_are_japanese_with_the_english_literal_marked_as_such(open_page):
    page = open_page(f"/ja/compare?slugs={PAIR}")
    family = page.locator('tr[data-key="family"] td').first
    assert family.inner_text().split("\n")[0] == "機械学習"
    assert family.locator('[lang="en"]').inner_text() == "Machine learning"
    related = page.locator('tr[data-key="related"] td')
    assert related.nth(0).inner_text().startswith("5（共通 1）")
    assert related.nth(1).inner_text().startswith("2（共通 1）")
    related.nth(1).locator("summary").click()
    names = related.nth(1).locator("li a")
    assert names.count() == 2
    assert names.first.get_attribute("href").startswith("/ja/methods/")


def test_the_last_of_the_seeds_rows_leads_to_the_data_set(open_page):
    page = open_page(f"/ja/compare?slugs={PAIR}")
    last = page.locator("tbody.facts tr").last
    assert last.locator("a").inner_text() == "Kurabeデータセット ↗"
    assert "ScholarGate" in last.inner_text()
    last.locator("a").click()
    page.wait_for_url("**/ja/data")
    assert page.locator('a[href="/dataset/kurabe.csv"]').count() == 1


def test_sources_lead_to_arxiv(open_page):
    page = open_page(f"/en/compare?slugs={PAIR}")
    links = page.locator('tr[data-key="source"] a')
    assert links.all_inner_texts() == ["link ↗", "link ↗"]
    assert links.first.get_attribute("href") == "https://arxiv.org/abs/2006.11239"
