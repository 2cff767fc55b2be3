"""How far a study is: every run's state, share and time left, as the page and its poll read it."""

import math

from pydantic import BaseModel

from kurabe.comparison.results import RunResult, StudyResults
from kurabe.words.pages import word

_OVER = ("finished", "failed", "interrupted")


class RunProgress(BaseModel):
    """One run: `share` of its budget in [0, 1], `left` in seconds, None where nobody knows."""

    column: str
    block: int
    id: str | None
    status: str
    share: float
    left: float | None
    text: str


class StudyProgress(BaseModel):
    """All runs of a study; `steps`, runs begun and runs ended, grows when a page is out of date."""

    study: str
    lang: str
    finished: int
    steps: int
    total: int
    going_on: bool
    text: str
    runs: list[RunProgress]


def progress_of(name: str, results: StudyResults, lang: str) -> StudyProgress:
    """The progress of a study's planned and added blocks, column by column."""
    blocks = sorted({*range(1, results.blocks + 1), *(block for _, block in results.runs)})
    runs = [
        _run(column.id, block, results.runs.get((column.id, block)), lang)
        for column in results.columns
        for block in blocks
    ]
    finished = sum(run.status == "finished" for run in runs)
    return StudyProgress(
        study=name,
        lang=lang,
        finished=finished,
        steps=sum((run.status != "none") + (run.status in _OVER) for run in runs),
        total=len(runs),
        going_on=any(run.status == "running" for run in runs),
        text=word("progress.of", lang, done=finished, total=len(runs)),
        runs=runs,
    )


def _run(column: str, block: int, run: RunResult | None, lang: str) -> RunProgress:
    if run is None:
        text = word("status.none", lang)
        return RunProgress(
            column=column, block=block, id=None, status="none", share=0, left=None, text=text
        )
    seen, budget = _number(run.info.get("images_seen")), _number(run.info.get("budget_images"))
    share = 1.0 if run.status == "finished" else min(1.0, seen / budget) if budget else 0.0
    left = None
    text = word(f"status.{run.status}", lang)
    if run.status == "running":
        text = f"{math.floor(100 * share)} %"
        if share > 0 and (seconds := _number(run.info.get("seconds"))):
            left = seconds * (1 - share) / share
            text += f" · {word('time-left', lang, n=math.ceil(left / 60))}"
    identity = run.info.get("id")
    return RunProgress(
        column=column,
        block=block,
        id=None if identity is None else str(identity),
        status=run.status,
        share=share,
        left=left,
        text=text,
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
