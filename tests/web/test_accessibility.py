"""axe finds nothing against WCAG 2.2 AA, on any page, in both languages, light and dark."""

import pytest

PAIR = "transfer-learning-with-diffusion-models,self-supervised-diffusion-model"
STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PAGES = {
    "catalogue": "/{}/?slugs=lora",
    "seed": f"/{{}}/compare?slugs={PAIR}",
    "measured": f"/{{}}/compare?slugs={PAIR},ddpm&study=scans&pairs=kid&pin=ddpm",
    "one": "/{}/compare?slugs=lora",
    "none": "/{}/compare",
    "method": "/{}/methods/lora",
    "family": "/{}/methods/self-supervised-diffusion-model",
    "studies": "/{}/studies",
    "study": "/{}/studies/scans",
    "run": "/{}/runs/transfer-1",
    "blind": "/{}/blind?study=scans&first=transfer&second=scratch&seed=3",
    "told": "/{}/blind?study=scans&first=transfer&second=scratch&seed=3&answers=LLRL",
    "data": "/{}/data",
    "unknown": "/{}/compare?slugs=lorra",
}
CORE = [("measured", "ja", "light"), ("catalogue", "en", "dark")]
ALL = [
    (page, lang, scheme)
    for page in PAGES
    for lang, scheme in (("ja", "light"), ("en", "dark"))
    if (page, lang, scheme) not in CORE
]


def complaints(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, options={"runOnly": {"type": "tag", "values": STANDARD}}).response
    assert len(found["passes"]) > 10, "axe ran"
    return [
        (rule["id"], node["target"], node["failureSummary"])
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize(
    ("page", "lang", "scheme"),
    CORE + [pytest.param(*each, marks=pytest.mark.slow) for each in ALL],
)
def test_axe_finds_nothing(open_page, page, lang, scheme):
    # axe is put into the page by a script of its own, which the site's policy would refuse.
    opened = open_page(PAGES[page].format(lang), color_scheme=scheme, bypass_csp=True)
    for details in opened.locator("details").all():
        details.evaluate("d => { if (!d.classList.contains('menu')) d.open = true; }")
    assert complaints(opened) == []
    overflow = opened.evaluate("() => document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, "no page is wider than its window"
