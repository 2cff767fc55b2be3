"""What is written as files: the cells are the page's, and other tools read them."""

import csv
import html
import io
import json
import re
import shutil
import subprocess

import pytest
from made_study import scans
from starlette.testclient import TestClient

from kurabe.methods import catalogue
from kurabe.web import Library, create_app

PAIR = "transfer-learning-with-diffusion-models,self-supervised-diffusion-model"
SKOS = "http://www.w3.org/2004/02/skos/core#"


@pytest.fixture
def rows(client):
    """The page's rows: label, and each cell's first words, as a browser would read them."""
    page = client.get(f"/en/compare?slugs={PAIR},ddpm&study=scans").text
    found = {}
    for key, row in re.findall(
        r'<tr class="[a-z]+" id="row-([a-z_-]+)"[^>]*>(.*?)</tr>', page, re.S
    ):
        cells = re.findall(r"<td>(.*?)</td>", row, re.S)
        found[key] = [text_of(cell) for cell in cells]
    return found


def text_of(cell):
    if value := re.search(r'<span class="value">(.*?)</span>', cell):
        text = value[1]
    elif cell.lstrip().startswith("<ul"):
        text = ", ".join(re.findall(r"<li>(.*?)</li>", cell))
    else:
        text = re.split(r"<details|<span|<code|<a ", cell)[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split())


def export(client, form):
    answer = client.get(f"/en/compare/export/{form}?slugs={PAIR},ddpm&study=scans")
    assert answer.status_code == 200
    assert "attachment" in answer.headers["content-disposition"]
    return answer.content.decode()


def plain(latex):
    signs = {r"$\pm$": "±", "$-$": "−", r"$\times$": "×", r"\&": "&", r"\%": "%", "---": "—",
             "--": "–", r"\_": "_", r"\dots{}": "…", r"$\alpha$": "α", r"$\tau$": "τ"}  # fmt: skip
    for sign, character in signs.items():
        latex = latex.replace(sign, character)
    return latex


@pytest.mark.parametrize("form", ["csv", "markdown", "latex"])
def test_every_cell_equals_the_pages(client, rows, form):
    text = export(client, form)
    if form == "csv":
        lines = [line[2:-1] for line in csv.reader(io.StringIO(text.removeprefix("\ufeff")))][1:]
    elif form == "markdown":
        table = [line for line in text.splitlines() if line.startswith("| ")][2:]
        lines = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[2:-2]] for line in table]
        lines = [[html.unescape(re.sub(r"\\(.)", r"\1", c)) for c in line] for line in lines]
    else:
        body = re.findall(r"^(?!\\)(.* & .*) \\\\$", text, re.M)[1:]
        lines = [[plain(c).strip() for c in re.split(r"(?<!\\) ?& ", line)[1:-1]] for line in body]
    shown = [cells for key, cells in rows.items() if key != "samples"]
    assert len(lines) == len(shown) > 20
    for exported, page in zip(lines, shown, strict=True):
        assert [" ".join(cell.split()) for cell in exported] == page


def test_bibtex_parses_and_names_the_seeds_source_once(client):
    text = export(client, "bibtex")
    entries = re.findall(r"@(\w+)\{([a-z0-9]+),\n((?:  \w+ = \{.*\},?\n)+)\}", text)
    assert "".join(re.findall(r"@\w+", text)).count("@") == len(entries)
    assert [key for _, key, _ in entries].count("ho2020denoising") == 1
    assert all(body.count("{") == body.count("}") for _, _, body in entries)


def test_the_whole_catalogues_bibtex_has_unique_keys(client):
    keys = re.findall(r"^@\w+\{(\w+),", client.get("/dataset/kurabe.bib").text, re.M)
    assert len(keys) == len(set(keys)) > 20


def test_the_html_export_needs_nothing_from_elsewhere(client):
    page = export(client, "html")
    assert re.findall(r'(?:src|srcset)="(?!data:)', page) == []
    assert "<script" not in page


def export_of(client, page, name):
    links = dict(re.findall(r'<a href="([^"]+)" download>([^<]+)</a>', client.get(page).text))
    return html.unescape({name: link for link, name in links.items()}[name])


@pytest.mark.parametrize("page", [f"/ja/compare?slugs={PAIR}&study=scans", "/ja/studies/scans"])
def test_latex_is_english_unless_lualatex_is_asked_for(client, page):
    text = client.get(export_of(client, page, "LaTeX")).text
    assert re.findall(r"[^\x00-\x7f]", text) == []
    assert "Transfer learning with diffusion models" in text
    text = client.get(export_of(client, page, "LuaLaTeX")).text
    assert text.startswith("% needs the packages booktabs, array, luatexja (LuaLaTeX)")
    assert "拡散モデルを用いた転移学習" in text
    assert ">LuaLaTeX</a>" not in client.get(page.replace("/ja/", "/en/")).text


@pytest.mark.parametrize(
    ("page", "baseline"),
    [(f"/ja/compare?slugs={PAIR},ddpm&study=scans", PAIR.split(",")[0]),
     ("/ja/studies/scans", "transfer")],
)  # fmt: skip
def test_the_html_file_takes_its_differences_from_the_pages_baseline(client, page, baseline):
    def deltas(text):
        row = re.search(r'id="row-kid".*?</tr>', text, re.S)[0]
        return [float(re.sub("−", "-", d)) for d in re.findall(r'"delta[^"]*">([−+.\d]+)', row)]

    page += ("&" if "?" in page else "?") + f"baseline={baseline}"
    of_file = deltas(client.get(export_of(client, page, "HTML")).text)
    # Means .021, .094, .101, and where all four are shown .152.
    assert of_file[:2] == [0.073, 0.080]
    assert of_file == deltas(client.get(page).text)
    wrong = export_of(client, page, "HTML").replace(f"baseline={baseline}", "baseline=lora")
    assert client.get(wrong).status_code == 400


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine")
def test_latex_compiles(client, tmp_path):
    document = (
        "\\documentclass{article}\\usepackage{booktabs,array}\\begin{document}\n%s\\end{document}"
    )
    (tmp_path / "table.tex").write_text(document % export(client, "latex"), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_catalogue_as_json_and_csv_holds_every_card(client):
    methods = json.loads(client.get("/dataset/kurabe.json").text)["methods"]
    assert [m["card"]["id"] for m in methods] == list(catalogue())
    text = client.get("/dataset/kurabe.csv").content.decode()
    lines = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert [line["id"] for line in lines] == list(catalogue())
    lora = next(line for line in lines if line["id"] == "lora")
    assert lora["name_ja"] == catalogue()["lora"].card.name.ja
    assert all(all(line.values()) or not line["related"] or not line["broader"]
               or not line["aliases_ja"] or not line["aliases_en"] for line in lines)  # fmt: skip


@pytest.fixture
def graph(client):
    rdflib = pytest.importorskip("rdflib")
    text = client.get("/dataset/kurabe.skos.jsonld").text
    return rdflib.Graph().parse(data=text, format="json-ld")


def test_skos_integrity(graph):
    """The conditions S9, S13, S14, S27 and S37 of the SKOS reference, and both directions."""
    import rdflib

    skos = rdflib.Namespace(SKOS)
    concepts = set(graph.subjects(rdflib.RDF.type, skos.Concept))
    assert len(concepts) == len(catalogue())
    schemes = set(graph.subjects(rdflib.RDF.type, skos.ConceptScheme))
    assert len(schemes) == 1
    assert not concepts & schemes
    above = {c: set(graph.transitive_objects(c, skos.broader)) - {c} for c in concepts}
    for concept in concepts:
        labels = {kind: set(graph.objects(concept, skos[kind]))
                  for kind in ("prefLabel", "altLabel", "hiddenLabel")}  # fmt: skip
        assert sorted(label.language for label in labels["prefLabel"]) == ["en", "ja"]
        assert not labels["prefLabel"] & labels["altLabel"]
        assert not labels["hiddenLabel"] & (labels["prefLabel"] | labels["altLabel"])
        related = set(graph.objects(concept, skos.related))
        assert related <= concepts
        assert not related & above[concept], "related is not broader, however far"
        assert all((other, skos.related, concept) in graph for other in related)
        assert concept not in above[concept]
        for broader in graph.objects(concept, skos.broader):
            assert (broader, skos.narrower, concept) in graph
        top = (concept, skos.topConceptOf, next(iter(schemes))) in graph
        assert top != any(graph.objects(concept, skos.broader))


def test_the_term_set_holds_every_method_in_both_languages(client):
    terms = json.loads(client.get("/dataset/kurabe.terms.jsonld").text)
    assert terms["@type"] == "DefinedTermSet"
    found = {term["termCode"]: term for term in terms["hasDefinedTerm"]}
    assert list(found) == list(catalogue())
    names = {name["@language"]: name["@value"] for name in found["lora"]["name"]}
    assert names["ja"] == catalogue()["lora"].card.name.ja


def test_a_studys_raw_runs_and_the_digest_in_their_metadata(client):
    import hashlib

    text = client.get("/dataset/studies/scans/runs.csv").text
    lines = list(csv.DictReader(io.StringIO(text)))
    kids = [float(line["value"]) for line in lines
            if (line["column"], line["metric"]) == ("transfer", "kid")]  # fmt: skip
    assert len(kids) == 5
    assert sum(kids) / 5 == pytest.approx(0.021, abs=1e-12)
    described = json.loads(client.get("/dataset/studies/scans/croissant.json").text)
    file = described["distribution"][0]
    assert file["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert file["contentUrl"].endswith("/dataset/studies/scans/runs.csv")


CREDIT = ("license", "creator", "datePublished", "version", "citeAs")


def test_licence_creator_and_date_are_told_of_what_is_ours_alone(tmp_path):
    name = "猫 写真 study"
    scans(tmp_path / name)
    for shipped in (True, False):
        library = (
            Library(tmp_path / "runs", tmp_path) if shipped else Library(tmp_path, tmp_path / "no")
        )
        library.refresh()
        client = TestClient(create_app(library))
        described = client.get(f"/dataset/studies/{name}/croissant.json").json()
        assert [key in described for key in CREDIT] == [shipped] * len(CREDIT)
        assert described["name"] == "kurabe-study-scans"
        for address in (described["url"], described["distribution"][0]["contentUrl"]):
            assert re.fullmatch(r"[!-~]+", address)
            assert client.get(address).status_code == 200
    catalogue_file = client.get("/dataset/kurabe.croissant.json").json()
    assert catalogue_file["license"] == "https://www.apache.org/licenses/LICENSE-2.0"


def test_the_ids_of_the_vocabularies_are_addresses_that_answer(client):
    for file in ("kurabe.skos.jsonld", "kurabe.terms.jsonld"):
        text = client.get(f"/dataset/{file}").text
        ids = set(re.findall(r'"@id": "(http://testserver/[^"]+)"', text))
        assert len(ids) == len(catalogue()) + 1
        for address in ids:
            leads = client.get(address)
            assert leads.status_code == 303, address
            assert client.get(leads.headers["location"]).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "address", ["/dataset/kurabe.croissant.json", "/dataset/studies/scans/croissant.json"]
)
def test_mlcroissant_validates_the_metadata(client, address, tmp_path):
    mlcroissant = pytest.importorskip("mlcroissant")
    path = tmp_path / "croissant.json"
    path.write_text(client.get(address).text, encoding="utf-8")
    found = mlcroissant.Dataset(jsonld=str(path)).metadata.issues
    assert list(found.errors) == []
