"""Tables for papers: LaTeX with booktabs, and the sources as BibTeX.

An English table compiles with any LaTeX; a Japanese one needs LuaLaTeX with luatexja.
"""

from typing import Any

from kurabe.comparison.drawings.flat import flat_rows, label_of
from kurabe.comparison.table import Table

_CHARACTERS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "–": "--",
    "—": "---",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "↗": r"$\nearrow$",
    "·": r"$\cdot$",
    "…": r"\dots{}",
    "₀": "$_0$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "ε": r"$\varepsilon$",
    "λ": r"$\lambda$",
    "σ": r"$\sigma$",
    "τ": r"$\tau$",
}


def latex_text(text: str) -> str:
    """Text in which nothing is a command."""
    return "".join(_CHARACTERS.get(character, character) for character in text)


def draw_latex(table: Table) -> str:
    """A tabular environment; the comment on top names the packages that it needs."""
    packages = "booktabs, array" + (", luatexja (LuaLaTeX)" if table.lang == "ja" else "")
    share = 0.72 / max(1, len(table.columns))
    columns = (
        rf"*{{{len(table.columns)}}}{{>{{\raggedright\arraybackslash}}p{{{share:.3f}\linewidth}}}}"
    )
    label = r">{\raggedright\arraybackslash}p{0.16\linewidth}"
    lines = [
        f"% needs the packages {packages}",
        rf"\begin{{tabular}}{{@{{}}{label}{columns}c@{{}}}}",
        r"\toprule",
        " & ".join(["", *(latex_text(column.name) for column in table.columns), ""]) + r" \\",
    ]
    group = None
    for row, cells in flat_rows(table):
        if row.group != group:
            lines.append(r"\midrule")
            group = row.group
        texts = [latex_text(text) for text in (label_of(row), *cells, row.mark or "")]
        lines.append(" & ".join(texts) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


_TYPES = {"paper-conference": "inproceedings", "article-journal": "article", "article": "misc"}
_CONTAINERS = {"inproceedings": "booktitle", "article": "journal", "misc": "howpublished"}


def draw_bibtex(table: Table) -> str:
    """The sources of all columns, each once."""
    return "\n".join(_entry(source) for source in table.sources)


def _entry(source: dict[str, Any]) -> str:
    kind = _TYPES.get(str(source["type"]), "misc")
    authors = " and ".join(
        f"{author['family']}, {author['given']}" if "given" in author else f"{{{author['family']}}}"
        for author in source["author"]
    )
    fields = {
        "author": latex_text(authors).replace(r"\{", "{").replace(r"\}", "}"),
        # Double braces keep the title's capitals.
        "title": f"{{{latex_text(source['title'])}}}",
        "year": str(source["issued"]["date-parts"][0][0]),
        _CONTAINERS[kind]: latex_text(source.get("container-title", "")),
        "volume": source.get("volume", ""),
        "pages": str(source.get("page", "")).replace("–", "--"),
        "doi": source.get("DOI", ""),
        "url": source.get("URL", ""),
    }
    body = ",\n".join(f"  {key} = {{{value}}}" for key, value in fields.items() if value)
    return f"@{kind}{{{source['id']},\n{body}\n}}\n"
