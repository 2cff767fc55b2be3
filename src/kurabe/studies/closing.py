"""What a study ends with: the sentences, the table, where page and grids lie, the next command.

The table's content and verdicts are the comparison's; here it is written beside the runs, in both
languages, and shown.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace

from kurabe.comparison import draw_html, draw_terminal, screen_of, study_table
from kurabe.comparison.results import read_results
from kurabe.execution.job import Job
from kurabe.records import StudyFolder
from kurabe.studies.failures import about_failures
from kurabe.studies.state import StudyState
from kurabe.studies.study import Study
from kurabe.words import LANGUAGES
from kurabe.words.commands import aligned, say

# The study's own page begins with what was found; the facts follow.
_ORDER = ("samples", "measured", "how", "facts")


def write_table(folder: StudyFolder, lang: str) -> tuple[str, ...]:
    """Write table.json and the page, index.html in `lang` and index.<lang>.html in each; what of
    the runs could not be read for it."""
    pages = {each: f"index.{each}.html" for each in LANGUAGES}
    # What is handed on names the folder, not where it lies on this machine.
    results = replace(read_results(folder), place=folder.name)
    for each in LANGUAGES:
        table = study_table(results, each)
        page = draw_html(table, _ORDER, pages)
        folder.write_page(page, each)
        if each == lang:
            folder.write_table(table.to_json())
            folder.write_page(page)
    return results.unread


def closing(
    study: Study, state: StudyState, folder: StudyFolder, jobs: Sequence[Job], lang: str
) -> list[str]:
    """The lines that a study ends with."""
    results = read_results(folder)
    table = study_table(results, lang)
    screen = screen_of()
    command = f"kurabe study {shlex.quote(str(folder.path))}"
    ways = [
        (say("end.page", lang), str(folder.page_path)),
        (say("end.samples", lang), str(folder.path / "samples.html")),
        (say("end.serve", lang), "kurabe serve"),
        (say("end.more", lang), f"{command} --add lora"),
        (say("end.own", lang), "kurabe study FOLDER"),
        (say("end.marks", lang), "kurabe compare --help"),
    ]
    return [
        "",
        draw_terminal(table, screen, ("measured",)),
        *(f"  {screen.say(problem)}" for problem in results.unread),
        *(f"  {screen.say(text)}" for text in about_failures(study, folder, jobs, command, lang)),
        *_cautions(study, state, lang),
        *(f"  {screen.say(text)}" for text in aligned(ways)),
    ]


def _cautions(study: Study, state: StudyState, lang: str) -> list[str]:
    """What a reader must know of the runs: blocks added, rates on the edge."""
    lines = list[str]()
    if study.added_blocks:
        lines.append(say("end.added", lang, n=study.added_blocks, total=len(study.all_blocks)))
    for column, found in state.learning_rates.items():
        if found.on_edge:
            lines.append(say("end.edge", lang, column=column, lr=found.lr))
    return [f"  {text}" for text in lines]
