"""From what a person typed to a study: a folder of images, a study's file, or one begun before.

A new study of a folder has the seed's pair, training from scratch and the untouched base, as many
seconds each; a base that draws other images is offered with the words to type, never guessed.
"""

import hashlib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kurabe import data
from kurabe.errors import UserError
from kurabe.execution.engine import Engine
from kurabe.execution.local import HERE
from kurabe.files import check_place
from kurabe.methods import choices_of, find
from kurabe.outside_settings import Question
from kurabe.recipe import Budget, Optimiser, read_toml
from kurabe.records import StudyFolder
from kurabe.runs.bases import base_for, check_base, check_reach, colour, find_base, network_of
from kurabe.runs.images import check_same_images, load_images, shown
from kurabe.runs.precision import check_device, usual_dtype
from kurabe.sizes import aspects_of, setting_of, times
from kurabe.studies.jobs import need_of
from kurabe.studies.more_blocks import with_blocks
from kurabe.studies.outside_columns import of_outside, with_outside
from kurabe.studies.state import StudyState
from kurabe.studies.study import Study, parse_budget

COLUMNS = (
    "transfer-learning-with-diffusion-models",
    "self-supervised-diffusion-model",
    "ddpm",
    "base",
)
BASELINE = "ddpm"
SECONDS = 60.0
MEASURED_EVERY = 15.0
USUAL_SIZE = 32
# A file system takes 255 bytes, of which "-study" and what is written beside need some.
LONGEST_NAME = 200
RECIPES = Path(__file__).parent.parent / "recipes"


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line; None where nothing was said."""

    source: str
    add: tuple[str, ...] = ()
    labels: str | None = None
    base: str | None = None
    budget: str | None = None
    seeds: int | None = None
    out: Path | None = None
    size: int | str | None = None
    channels: int | None = None
    first_seed: int | None = None
    columns: tuple[str, ...] | None = None
    device: str | None = None
    encoder: str | None = None
    prompt: str | None = None
    aspects: str | tuple[str, ...] | None = None
    # The engine, by its name in the registry.
    on: str = "local"
    # Columns that were made elsewhere, NAME=PATH.
    outside: tuple[str, ...] = ()
    question: Question | None = None


def begin(request: Request, engine: Engine = HERE) -> tuple[Study, StudyState, StudyFolder]:
    """The study asked for, what it found out before, and its folder; nothing is written yet.

    Where its device or number format is "auto", the engine's machines say what that means.

    UserError where the request contradicts what was begun, and for any setting that is wrong.
    """
    folder = StudyFolder(_place(request))
    check_place(folder.path, folder=True)
    engine.device(request.device or "auto")
    state = StudyState.read(folder.state_path)
    if folder.exists:
        return _continued(request, folder, state, engine), state, folder
    study = _new(request)
    study = study.changed(device=engine.device(study.device))
    if study.device != "cpu":
        engine.there(check_device, study.device, need=need_of(study))
    if study.dtype == "auto":
        usual = engine.there(usual_dtype, study.device, need=need_of(study))
        study = study.changed(dtype=usual)
    for text in request.add:
        study = _with_column(study, text)
    return study, state, folder


def _place(request: Request) -> Path:
    if request.out is not None:
        return request.out
    source = Path(request.source)
    if (source / "study.toml").is_file():
        return source
    return Path(f"{_short(name_of(request.source))}-study")


def name_of(source: str) -> str:
    """What a study of that source is called: a folder's whole name, a file's without its ending."""
    path = Path(source)
    is_file = path.suffix.lower() in (".toml", ".zip", ".parquet") and not path.is_dir()
    return (path.stem if is_file else path.name) or path.resolve().name


def _short(name: str) -> str:
    """The name where it fits a folder's with what is put behind it, else its beginning."""
    if len(os.fsencode(name)) <= LONGEST_NAME:
        return name
    told = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    while len(os.fsencode(name)) > LONGEST_NAME - 9:
        name = name[:-1]
    return f"{name}-{told}"


def _continued(request: Request, folder: StudyFolder, state: StudyState, engine: Engine) -> Study:
    study = _placed(Study.from_toml(folder.study_path), folder.path)
    study = _where_images_lie(request, study, folder)
    begun = bool(folder.runs())
    if begun and request.seeds is not None:
        # Other images or labels weigh more than how many blocks were planned.
        check_same_images(folder.runs().values(), load_images(study.data), study.data.source)
    budget = parse_budget(request.budget) if request.budget else study.budget
    asked = {
        "--budget": (budget, study.budget),
        "--base": (request.base or study.base, study.base),
        "--labels": (request.labels or study.data.labels, study.data.labels),
        "--size": (request.size or study.data.size, study.data.size),
        "--aspects": (_aspects(request) or study.data.aspects, study.data.aspects),
        "--grey or --colour": (request.channels or study.data.channels, study.data.channels),
        "--prompt": (request.prompt or _told(study), _told(study)),
        "--question": (request.question or study.question, study.question),
        "--encoder": (request.encoder or study.evaluation.encoder, study.evaluation.encoder),
        "--device": (engine.device(request.device or study.device), study.device),
        "--seed": (
            study.first_seed if request.first_seed is None else request.first_seed,
            study.first_seed,
        ),
    }
    for option, (wanted, has) in asked.items():
        if wanted != has:
            raise UserError(
                f"{folder.path} was begun without this {option}; "
                "start another study with --out, or edit study.toml before its first run."
            )
    has = {find(column.method).id for column in study.columns} | {c.id for c in study.columns}
    for text in request.columns or ():
        if text.strip() not in has and find(text.strip()).id not in has:
            raise UserError(
                f"{folder.path} has no column {text.strip()}; --add {text.strip()} fills it."
            )
    for text in request.add:
        more = _with_column(study, text)
        if more is not study and begun:
            state.added_columns.append(more.columns[-1].id)
        study = more
    if request.seeds is not None:
        study = with_blocks(study, request.seeds, begun)
    return with_outside(study, request.outside, request.prompt)


def _aspects(request: Request) -> tuple[str, ...] | None:
    """The ratios asked for; UserError for what is none."""
    try:
        return None if request.aspects is None else aspects_of(request.aspects)
    except ValueError as error:
        raise UserError(f"--aspects {error}.") from None


def _told(study: Study) -> str | None:
    told = study.network.told
    elsewhere = (column.prompt for column in study.outside if column.prompt is not None)
    return next(elsewhere, None) if told is None else told.text


def _where_images_lie(request: Request, study: Study, folder: StudyFolder) -> Study:
    """The study with the place of its images that was asked for.

    Whether those are the images that its runs were begun on is seen when they are read. UserError
    where no run was begun, so that only the place could tell, and where they are not there.
    """
    asked, has = Path(request.source), Path(study.data.source)
    is_study = asked.suffix == ".toml" or asked.resolve() == folder.path.resolve()
    if is_study and not has.exists() and study.data.source not in data.available():
        place = shlex.quote(str(folder.path))
        raise UserError(
            f"{shown(study.data.source)} is not there, and {folder.path} is a study of the images "
            f"in it; put them back, or type kurabe study FOLDER --out {place}, where FOLDER is "
            "where they lie now."
        )
    if is_study or not asked.exists() or asked.resolve() == has.resolve():
        return study
    if any(run.info.get("data_digest") for run in folder.runs().values()):
        place = {**study.data.model_dump(mode="json"), "source": located(request.source)}
        return study.changed(data=place)
    raise UserError(
        f"{folder.path} is a study of {shown(study.data.source)}, not of {request.source}; "
        "give this one another place with --out."
    )


def located(source: str, beside: Path | None = None) -> str:
    """A known set's name as it is; a path made whole, so that it means the same from anywhere.

    A relative path in a study's file is meant from the file's folder, `beside`; where nothing lies
    there, from the working folder.
    """
    path = Path(source).expanduser()
    if source in data.available() or path.is_absolute():
        return source
    if beside is not None and (beside / path).exists():
        path = beside / path
    return str(path.resolve()) if path.exists() else source


def _placed(study: Study, beside: Path) -> Study:
    source = located(study.data.source, beside)
    return study.changed(data={**study.data.model_dump(mode="json"), "source": source})


def _with_column(study: Study, text: str) -> Study:
    method = find(text)
    if any(find(c.method).id == method.id for c in study.columns):
        return study
    choices_of(method)
    return study.with_column(method.id, method.id)


def _new(request: Request) -> Study:
    file = Path(request.source)
    shipped = RECIPES / f"{request.source}.toml"
    if file.suffix == ".toml":
        return _of_file(file, request)
    if shipped in RECIPES.glob("*.toml") and not file.exists():
        return _of_file(shipped, request)
    if request.outside and request.columns is None:
        asked = {"labels": request.labels, "size": request.size, "channels": request.channels}
        return of_outside(
            name_of(request.source),
            request.outside,
            request.question or "methods",
            {"source": located(request.source), **asked},
            {"encoder": request.encoder} if request.encoder else {},
            request.first_seed or 0,
            request.prompt,
        )
    return with_outside(of_images(request), request.outside)


def _of_file(path: Path, request: Request) -> Study:
    """The study in a file, with what was asked for besides.

    Where it has a base and names no network, training from scratch gets the base's.
    """
    settings = read_toml(path)
    asked: dict[str, Any] = {
        "blocks": request.seeds,
        "first_seed": request.first_seed,
        "device": request.device,
        "base": request.base,
    }
    settings |= {key: value for key, value in asked.items() if value is not None}
    if request.budget:
        settings["budget"] = parse_budget(request.budget).model_dump(exclude_none=True)
    data_asked = {
        "labels": request.labels, "size": request.size, "channels": request.channels,
        "aspects": _aspects(request),
    }  # fmt: skip
    given = {key: value for key, value in data_asked.items() if value is not None}
    if given:
        settings["data"] = {**settings.get("data", {}), **given}
    if request.encoder:
        settings["evaluation"] = {**settings.get("evaluation", {}), "encoder": request.encoder}
    if request.columns is not None:
        settings |= _only(request.columns, settings)
    study = Study.checked(settings, str(path))
    study = _placed(study, path.parent)
    if study.base is None:
        return study
    base = find_base(study.base)
    if study.data.size and study.data.channels:
        check_base(base, study.data.size, study.data.channels)
    if "network" in settings:
        return study
    return study.changed(network=network_of(base, request.prompt))


def _only(texts: Sequence[str], settings: dict[str, Any]) -> dict[str, Any]:
    """Columns and baseline of a study's file where only these are wanted, by id or method."""
    known = {str(c.get("id")): c for c in settings.get("columns", ()) if isinstance(c, dict)}
    columns: dict[str, Any] = {}
    for text in texts:
        name = text.strip() if text.strip() in known else find(text.strip()).id
        columns.setdefault(name, known.get(name, {"id": name, "method": name}))
    if not columns:
        raise UserError("--columns names no method; write it like --columns ddpm,lora.")
    baseline = settings.get("baseline")
    return {
        "columns": list(columns.values()),
        "baseline": baseline if baseline in columns else next(iter(columns)),
    }


def of_images(request: Request, methods: Sequence[str] = COLUMNS) -> Study:
    """A new study of a folder, a file or a known set; its columns are those that can start there.

    UserError where no method is left, or the base asked for draws other images.
    """
    # Looked at in the size most likely wanted, so that the decoded images are used again.
    seen = data.load(request.source, size=request.size or USUAL_SIZE, labels=request.labels)
    channels = request.channels or seen.channels
    aspects = _aspects(request)
    # Of the shipped bases each knows the places of its square alone.
    offered = aspects is None or request.base is not None
    base = base_for(request.base, request.size, channels) if offered else None
    if base is not None and request.base is not None and request.size is None:
        check_reach(base, seen)
    if base is not None and base.asks_for_text:
        # Half of them, or a damaged file, is said before anything is trained.
        data.captions(request.source, seen.ids)
    size = setting_of(request.size or (base.image_size if base else USUAL_SIZE))
    budget = parse_budget(request.budget) if request.budget else Budget(seconds=SECONDS)
    if request.columns is not None:
        methods = tuple(dict.fromkeys(find(text.strip()).id for text in request.columns))
        if not methods:
            raise UserError("--columns names no method; write it like --columns ddpm,lora.")
    startable = [
        method
        for method in methods
        if base is not None or choices_of(find(method)).start == "random"
    ]
    columns = [{"id": method, "method": method} for method in startable]
    missing = [method for method in methods if method not in startable]
    if missing and (request.columns is not None or not columns):
        raise UserError(
            f"{missing[0]} starts from a base, and no shipped one draws {times(size)} "
            f"{colour(channels)}; give --base, or another --size."
        )
    return Study.checked(
        {
            "name": name_of(request.source),
            "data": {
                "source": located(request.source),
                "size": size,
                "aspects": aspects,
                "channels": channels,
                "labels": request.labels,
            },
            # What was typed: a folder may be called what a shipped base is.
            "base": request.base or (base and base.name),
            "columns": columns,
            "baseline": BASELINE if BASELINE in methods else methods[0],
            "budget": budget.model_dump(),
            "optimiser": {"held_out_share": _held_out_share(budget)},
            "equal": "images" if budget.images else "seconds",
            "blocks": 5 if request.seeds is None else request.seeds,
            "first_seed": request.first_seed or 0,
            "device": request.device or "auto",
            "network": network_of(base, request.prompt),
            "evaluation": {"encoder": request.encoder} if request.encoder else {},
        },
        request.source,
    )


def _held_out_share(budget: Budget) -> float:
    """Every tenth of a run is measured, of a short run every MEASURED_EVERY seconds at most.

    A measured point costs seconds whatever the budget; ten of them would outlast a short run.
    """
    usual = Optimiser().held_out_share
    return max(usual, min(0.5, MEASURED_EVERY / budget.seconds)) if budget.seconds else usual
