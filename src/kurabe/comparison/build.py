"""Tables: methods side by side as facts, with a study's results where one is given."""

from collections.abc import Sequence
from typing import Any

from kurabe.comparison.facts import (
    LearningRate,
    fact_rows,
    how_rows,
    learning_rate_row,
    settings_row,
)
from kurabe.comparison.measured import Shown, measured_rows, sample_row
from kurabe.comparison.numbers import number
from kurabe.comparison.published_figures import chosen, published
from kurabe.comparison.results import StudyResults, read_results
from kurabe.comparison.sentences import sentences
from kurabe.comparison.table import Column, Row, StudyNote, Table
from kurabe.methods import Method, Source, choices_of, find
from kurabe.records import StudyFolder
from kurabe.words.outside import say
from kurabe.words.table import joined, word


def compare(
    methods: Sequence[Method], lang: str, study: StudyFolder | StudyResults | None = None
) -> Table:
    """These methods side by side; with a study, its results of those it ran.

    Of a method that has several columns in the study, the one with the study's own budget counts.
    """
    columns = tuple(
        Column(id=method.id, name=method.card.name.of(lang), method=method.id) for method in methods
    )
    if study is None:
        return _table(columns, methods, lang, None, ())
    results = _results(study)
    shown = tuple(Shown(method.id, method.id, column_of(method, results)) for method in methods)
    return _table(columns, methods, lang, results, shown)


def study_table(study: StudyFolder | StudyResults, lang: str) -> Table:
    """All columns of a study, in its order."""
    results = _results(study)
    methods = [find(column.method) if column.method else None for column in results.columns]
    names = _names(results, methods, lang)
    columns = tuple(
        Column(
            id=column.id,
            name=names[column.id],
            method=method and method.id,
            budget_factor=column.budget_factor,
            trained=column.outside or not method or not method.runs or choices_of(method).trains,
        )
        for column, method in zip(results.columns, methods, strict=True)
    )
    shown = tuple(Shown(column.id, column.method, column.id) for column in results.columns)
    return _table(columns, methods, lang, results, shown)


def _results(study: StudyFolder | StudyResults) -> StudyResults:
    return study if isinstance(study, StudyResults) else read_results(study)


def _table(
    columns: tuple[Column, ...],
    methods: Sequence[Method | None],
    lang: str,
    results: StudyResults | None,
    shown: tuple[Shown, ...],
) -> Table:
    chosen = [results.choices(c.source) if results and c.source else None for c in shown]
    elsewhere = {c.id for c in results.columns if c.outside} if results else frozenset[str]()
    here = [
        None if at.source in elsewhere else of for of, at in zip(methods, shown or [], strict=False)
    ]
    rows: list[Row] = []
    if any(methods) or results is None:
        rows += fact_rows(methods, lang)
    if any(here) or not shown:
        rows += how_rows(here if shown else methods, lang, chosen)
    if results is not None and not all(column.outside for column in results.columns):
        rows.append(learning_rate_row([_learning_rate(results, c.source) for c in shown], lang))
        recipes = [results.recipe(c.source) if c.source else None for c in shown]
        apart = settings_row(recipes, lang)
        rows += [apart] if apart else []
    introduction = [word("introduction", lang)]
    answers = ()
    if len(columns) < 2:
        introduction.append(word("pick", lang))
    if results is not None:
        measured = measured_rows(results, shown, lang)
        samples = sample_row(results, shown, lang)
        rows += [*measured, *([samples] if samples else [])]
        answers = sentences(results, measured, columns, shown, lang)
        one_run = results.question == "checkpoints"
        introduction.append(
            say("introduction.checkpoints", lang)
            if one_run
            else word("introduction.measured", lang)
        )
    return Table.model_validate(
        {
            "lang": lang,
            "title": word("title", lang),
            "introduction": tuple(introduction),
            "added": _added(results, columns, shown, lang) if results else (),
            "question": _question(results, lang) if results and answers else None,
            "columns": columns,
            "rows": tuple(rows),
            "sentences": answers,
            "study": _note(results, shown) if results else None,
            "looks": _looks(results, lang) if results else None,
            "tested": _tested(results, lang) if results else (),
            "sources": _sources(methods),
            "proof": _proof(results, lang) if results else None,
        }
    )


def _added(
    results: StudyResults, columns: Sequence[Column], shown: Sequence[Shown], lang: str
) -> tuple[str, ...]:
    """What was not planned before the first results: blocks, and columns among those shown."""
    blocks = [str(block) for block in results.added_blocks()]
    late = results.added_columns()
    names = [c.name for c, at in zip(columns, shown, strict=True) if at.source in late]
    said = (("added", "blocks", blocks), ("added-columns", "columns", names))
    return tuple(word(key, lang, **{what: joined(of, lang)}) for key, what, of in said if of)


def _learning_rate(results: StudyResults, column: str | None) -> LearningRate | None:
    """A trained column's rate; None where nothing trains or no recipe can be read."""
    recipe = results.recipe(column) if column else None
    if column is None or recipe is None or not recipe.choices.trains:
        return None
    tried = results.tried.get(column)
    rate = recipe.optimiser.lr
    return LearningRate(rate, tried.rates, tried.on_edge) if tried else LearningRate(rate)


def _tested(results: StudyResults, lang: str) -> tuple[str, ...]:
    """On how many images the marks stand, whether a checkpoint met them more than once, and
    whether by the rules of before."""
    said: list[str] = []
    if number_tested := results.test_images:
        said.append(word("tested", lang, n=f"{number_tested:,}"))
    openings, checkpoints = results.openings
    if openings > checkpoints:
        said.append(word("openings", lang, openings=openings, checkpoints=checkpoints))
    if "kid" in results.headlines:
        said.append(word("earlier", lang))
    if results.earlier_bases:
        said.append(word("earlier.bases", lang, names=joined(list(results.earlier_bases), lang)))
    if results.question == "checkpoints":
        said.append(say("groups", lang, groups=results.blocks))
    if results.outside and results.test_images:
        said.append(say("seen", lang))
    return tuple(said)


def _proof(results: StudyResults, lang: str) -> str:
    """What the rule of the marks promises, what was found where the truth is known, and why the
    first headline row is what it is.
    """
    names = [results.metrics[key].label(lang) for key in results.headlines]
    rule = word("rule" if names else "rule.none", lang, headlines=joined(names or [""], lang))
    said = [rule]
    known = None if results.question == "checkpoints" else published()
    if known:
        said.append(known.sentence(lang))
    figures = chosen() if "feature-distance" in results.headlines else None
    if figures and figures.encoder == results.encoder:
        said.append(figures.sentence(lang))
    return (" " if lang == "en" else "").join(said)


def _looks(results: StudyResults, lang: str) -> str:
    """After how many blocks marks were made, and when they will be again."""
    taken = [look for look, _ in results.procedure.taken]
    if not taken:
        return word("looks.first", lang, next=results.looks[0])
    said = [word("looks", lang, at=joined([str(look) for look in taken], lang))]
    following = [str(look) for look in results.looks if look > taken[-1]]
    if following:
        key = "looks.next" if len(following) > 1 else "looks.last"
        said.append(word(key, lang, next=joined(following, lang)))
    # A mark keeps the strictness of its look.
    by_look = results.procedure.strictness
    strict = [(look, number(by, 2 if by < 10 else 0)) for look, by in by_look.items()]
    if divided := [(look, by) for look, by in strict if by != "1.00"]:
        parts = [word("looks.skewed.at", lang, at=look, by=by) for look, by in divided]
        by = divided[0][1] if len(taken) == 1 else joined(parts, lang)
        said.append(word("looks.skewed", lang, by=by))
    return (" " if lang == "en" else "").join(said)


def column_of(method: Method, results: StudyResults) -> str | None:
    """The study's column that ran a method: by its id, by its default's, own budget first."""
    wanted = {method.id, method.default}
    known = [(column, find(column.method).id) for column in results.columns if column.method]
    fits = [(column, of) for column, of in known if of in wanted]
    fits.sort(key=lambda fit: (fit[0].outside, fit[0].budget_factor != 1, fit[1] != method.id))
    return fits[0][0].id if fits else None


def _names(results: StudyResults, methods: Sequence[Method | None], lang: str) -> dict[str, str]:
    """Each column's name; where two would be the same, with the column's id behind it. One that
    was made elsewhere is called what its owner calls it."""
    names: dict[str, str] = {}
    for column, method in zip(results.columns, methods, strict=True):
        name = column.id if column.outside or method is None else method.card.name.of(lang)
        if column.budget_factor != 1:
            factor = f"{column.budget_factor:g}"
            # In Japanese a name that ends in a bracket takes the factor into it.
            name = word("column.times", lang, name=name, factor=factor).replace("）（", "・")
        names[column.id] = name
    return {
        key: f"{name} ({key})" if list(names.values()).count(name) > 1 else name
        for key, name in names.items()
    }


def _question(results: StudyResults, lang: str) -> str:
    if all(column.outside for column in results.columns):
        samples = (run.metrics.get("precision", {}).get("n") for run in results.runs.values())
        n = next((n for n in samples if n), None)
        key = f"question.{results.question}"
        return say(key, lang, groups=results.blocks, n=n or "?")
    given: list[str] = []
    if results.training_images:
        given.append(word("given.training", lang, n=f"{results.training_images:,}"))
    for unit, amount in results.budget.items():
        given.append(word(f"given.{unit}", lang, n=number(float(amount), 0)))
    return word("question", lang, given=joined(given, lang))


def _note(results: StudyResults, shown: Sequence[Shown]) -> StudyNote:
    # A family beside its own default shows one column of the study twice; the first counts.
    ids = {column.source: column.id for column in reversed(shown)}
    return StudyNote(
        name=results.name,
        folder=str(results.folder.path),
        command=results.command,
        baseline=ids.get(results.baseline, results.baseline),
        blocks=results.blocks,
        added_blocks=results.added_blocks(),
        looks=results.looks,
        seconds_per_block=results.seconds_per_block(),
        encoder=results.encoder,
    )


def _sources(methods: Sequence[Method | None]) -> tuple[dict[str, Any], ...]:
    """The sources of all cards as CSL-JSON, each once, in order of first mention."""
    found: dict[str, Source] = {}
    for method in filter(None, methods):
        for source in method.card.sources:
            found.setdefault(source.DOI or f"arxiv:{source.arxiv}", source)
    keys: list[str] = []
    for source in found.values():
        key = f"{_plain(source.author[0].family)}{source.issued}"
        first = next((w for w in source.title.split() if len(_plain(w)) > 3), source.title)
        keys.append(key + _plain(first))
    return tuple(source.csl(key) for key, source in zip(keys, found.values(), strict=True))


def _plain(text: str) -> str:
    return "".join(c for c in text.lower() if c.isascii() and c.isalnum())
