"""The catalogue as files: JSON, CSV, JSON-LD (SKOS; schema.org), BibTeX and Croissant.

Vocabularies: SKOS (https://www.w3.org/TR/skos-reference/), schema.org's DefinedTermSet, Croissant
1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html).
"""

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from kurabe.comparison import compare, draw_bibtex
from kurabe.methods import Method, shipped
from kurabe.words import LANGUAGES

VERSION = "1.0.0"
_NAME = {"ja": "Kurabe 拡散モデル手法カタログ", "en": "Kurabe catalogue of diffusion methods"}
_ABOUT = {
    "ja": "拡散モデルと表現学習の手法のカード。名称、別名、年、提唱者、原典、関連、概要を日英で。",
    "en": "Cards of diffusion and representation-learning methods: names, aliases, years, "
    "proposers, sources, relations and summaries in Japanese and English.",
}
_LICENCE = "https://www.apache.org/licenses/LICENSE-2.0"


def as_json() -> str:
    """Every card and what it runs."""
    methods = [m.model_dump(mode="json", exclude_none=True) for m in shipped().values()]
    return _text({"name": "kurabe-catalogue", "version": VERSION, "methods": methods})


_COLUMNS: tuple[str, ...] = (
    *("id", "name_ja", "name_en", "yomi", "aliases_ja", "aliases_en", "field_ja", "field_en"),
    *("family_ja", "family_en", "year_start", "year_end", "proposed_by_ja", "proposed_by_en"),
    *("kind_ja", "kind_en", "source", "source_url", "related", "broader", "runs"),
    *("summary_ja", "summary_en"),
)


def as_csv() -> str:
    """One line a method; lists are joined by " | ". With a byte order mark, for spreadsheets."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, _COLUMNS)
    writer.writeheader()
    for method in shipped().values():
        writer.writerow({key: _inert(value) for key, value in _line(method).items()})
    return "\ufeff" + buffer.getvalue()


def _line(method: Method) -> dict[str, str]:
    card = method.card
    found: dict[str, str] = {}
    for lang in LANGUAGES:
        for key in ("name", "field", "family", "proposed_by", "kind", "summary"):
            found[f"{key}_{lang}"] = getattr(card, key).of(lang)
        found[f"aliases_{lang}"] = " | ".join(getattr(card.aliases, lang))
    return found | {
        "id": card.id,
        "yomi": card.yomi,
        "year_start": str(card.years.start),
        "year_end": str(card.years.end),
        "source": card.sources[0].citation,
        "source_url": card.sources[0].url,
        "related": " | ".join(card.related),
        "broader": " | ".join(card.broader),
        "runs": "true" if method.runs else "false",
    }


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def as_skos(base: str) -> str:
    """A SKOS concept scheme; `base` is the site's address, so that concepts lead to their pages.

    A method's broader methods are its skos:broader, related ones its skos:related; a method with
    none broader is a top concept.
    """
    scheme = f"{base}/dataset/methods"
    known = shipped()
    concepts = [_concept(method, base, scheme, known) for method in known.values()]
    tops = [c["@id"] for c in concepts if "topConceptOf" in c]
    head = {
        "@id": scheme,
        "@type": "ConceptScheme",
        "prefLabel": dict(_NAME),
        "definition": dict(_ABOUT),
        "hasTopConcept": tops,
    }
    return _text({"@context": _SKOS, "@graph": [head, *concepts]})


_SKOS = {
    "@vocab": "http://www.w3.org/2004/02/skos/core#",
    **{key: {"@id": f"http://www.w3.org/2004/02/skos/core#{key}", "@container": "@language"}
       for key in ("prefLabel", "altLabel", "hiddenLabel", "definition")},
    **{key: {"@id": f"http://www.w3.org/2004/02/skos/core#{key}", "@type": "@id"}
       for key in ("inScheme", "topConceptOf", "hasTopConcept", "broader", "narrower", "related")},
    "source": {"@id": "http://purl.org/dc/terms/source", "@type": "@id"},
}  # fmt: skip


def _concept(method: Method, base: str, scheme: str, known: Mapping[str, Method]) -> dict[str, Any]:
    card = method.card
    names = {"ja": card.name.ja, "en": card.name.en}
    broader = [key for key in card.broader if key in known]
    narrower = [key for key, other in known.items() if card.id in other.card.broader]

    def address(key: str) -> str:
        return f"{base}/dataset/methods/{key}"

    concept: dict[str, Any] = {
        "@id": address(card.id),
        "@type": "Concept",
        "notation": card.id,
        "prefLabel": names,
        # A label stands once: what is preferred is not also an alternative.
        "altLabel": {
            lang: [alias for alias in getattr(card.aliases, lang) if alias != names[lang]]
            for lang in LANGUAGES
        },
        "hiddenLabel": {"ja": [card.yomi]} if card.yomi not in card.aliases.ja else {},
        "definition": {"ja": card.summary.ja, "en": card.summary.en},
        "inScheme": scheme,
        "broader": [address(key) for key in broader],
        "narrower": [address(key) for key in narrower],
        "related": [address(key) for key in card.related if key in known],
        "source": [source.url for source in card.sources],
    }
    return concept if broader else {**concept, "topConceptOf": scheme}


def as_terms(base: str) -> str:
    """The same for search engines: schema.org's DefinedTermSet."""
    terms = [
        {
            "@type": "DefinedTerm",
            "@id": f"{base}/dataset/methods/{method.id}",
            "termCode": method.id,
            "name": [_said(method.card.name.ja, "ja"), _said(method.card.name.en, "en")],
            "alternateName": [
                *(_said(alias, "ja") for alias in method.card.aliases.ja),
                *(_said(alias, "en") for alias in method.card.aliases.en),
            ],
            "description": [
                _said(method.card.summary.ja, "ja"),
                _said(method.card.summary.en, "en"),
            ],
            "url": f"{base}/en/methods/{method.id}",
        }
        for method in shipped().values()
    ]
    return _text(
        {
            "@context": "https://schema.org",
            "@type": "DefinedTermSet",
            "@id": f"{base}/dataset/terms",
            "name": [_said(_NAME["ja"], "ja"), _said(_NAME["en"], "en")],
            "description": [_said(_ABOUT["ja"], "ja"), _said(_ABOUT["en"], "en")],
            "license": _LICENCE,
            "hasDefinedTerm": terms,
        }
    )


def _said(text: str, lang: str) -> dict[str, str]:
    return {"@language": lang, "@value": text}


@cache
def as_bibtex() -> str:
    """The sources of all cards, each once."""
    return draw_bibtex(compare(list(shipped().values()), "en"))


# What holds for the catalogue and the studies that are shipped with it, and for nobody else's.
CREDIT: Mapping[str, Any] = {
    "license": _LICENCE,
    "version": VERSION,
    "datePublished": "2026-11-22",
    "creator": {"@type": "sc:Organization", "name": "The Kurabe authors"},
    "citeAs": "@misc{kurabe, title={Kurabe}, author={{The Kurabe authors}}, year={2026}}",
}


def as_croissant(base: str) -> str:
    """Croissant metadata of the CSV."""
    data = as_csv()
    return croissant(
        "kurabe-catalogue",
        _ABOUT["en"],
        f"{base}/en/data",
        f"{base}/dataset/kurabe.csv",
        data,
        {key: "sc:Integer" if key.startswith("year") else "sc:Boolean" if key == "runs"
         else "sc:Text" for key in _COLUMNS},
        CREDIT,
    )  # fmt: skip


def croissant(
    name: str,
    about: str,
    page: str,
    address: str,
    data: str,
    columns: Mapping[str, str],
    credit: Mapping[str, Any],
) -> str:
    """Croissant 1.0 metadata of one CSV file: its digest, and the type of each column.

    credit: licence, creator, version and date, where they are known.
    """
    file = address.rpartition("/")[2]
    return _text(
        {
            "@context": _CROISSANT,
            "@type": "sc:Dataset",
            "name": name,
            "description": about,
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "url": page,
            **credit,
            "distribution": [
                {
                    "@type": "cr:FileObject",
                    "@id": file,
                    "name": file,
                    "contentUrl": address,
                    "encodingFormat": "text/csv",
                    "sha256": hashlib.sha256(data.encode()).hexdigest(),
                }
            ],
            "recordSet": [
                {
                    "@type": "cr:RecordSet",
                    "@id": "rows",
                    "name": "rows",
                    "field": [
                        {
                            "@type": "cr:Field",
                            "@id": f"rows/{key}",
                            "name": key,
                            "dataType": kind,
                            "source": {"fileObject": {"@id": file}, "extract": {"column": key}},
                        }
                        for key, kind in columns.items()
                    ],
                }
            ],
        }
    )


_CROISSANT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
