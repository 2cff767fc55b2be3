"""The command line: what each command takes. Its work is in kurabe.commands and kurabe.studies.

Exit codes: 0 done; 1 the run failed; 2 what was given is wrong, in one sentence on stderr;
130 interrupted, everything saved. Nothing heavy is imported before a command needs it.
"""

import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from kurabe import standard_streams
from kurabe.commands import asked
from kurabe.commands.adapters import adapters
from kurabe.commands.images import label, nearest
from kurabe.commands.numbers import numbers
from kurabe.words import Language, language

app = typer.Typer(
    name="kurabe",
    help="Puts diffusion methods side by side: what they are, and what they do on your images.",
    epilog="Begin with:  kurabe demo     then, on your own images:  kurabe study FOLDER",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Check images, and get known sets.")
app.add_typer(data_app, name="data")
app.add_typer(adapters, name="adapter")
app.command()(numbers)
app.command()(label)
app.command()(nearest)

MARKS = (
    "≠ differs beyond the spread of the runs; ≈ the same for all practical purposes; "
    "? these runs cannot tell; — not measured, or the run failed."
)

# A run's images start from its seed × 2²⁰ and up, which are keys of 64 bits with room to count up.
MOST_SEED, MOST_IMAGE_SEED = 10**12, 2**62


class Format(StrEnum):
    """What a table can be written as."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"
    bibtex = "bibtex"
    html = "html"
    svg = "svg"


Lang = Annotated[Language | None, typer.Option("--lang", help="Else the locale's.")]
Out = Annotated[Path | None, typer.Option("--out", help="The folder to write to.")]
Data = Annotated[str, typer.Option("--data", help="A folder, zip, Parquet file or known name.")]
Base = Annotated[str | None, typer.Option("--base", help="A shipped base, a run or a folder.")]
Prompt = Annotated[
    str | None, typer.Option("--prompt", help="What the images show, for a base that reads.")
]
Spend = Annotated[str | None, typer.Option("--budget", help="90s, 5min, 1h, 5000img, 200kimg.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Start without asking.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")]
Seeds = Annotated[
    int | None, typer.Option("--seeds", min=1, max=1000, help="Blocks of seeds; 5 if new.")
]
Grey = Annotated[bool | None, typer.Option("--grey/--colour", help="Else as the images are.")]

Size = Annotated[
    str | None, typer.Option("--size", parser=asked.size, help="Pixels a side, or WIDTHxHEIGHT.")
]
Aspects = Annotated[
    str | None,
    typer.Option("--aspects", parser=asked.aspects, help="Ratios to train in: 1:1,3:2,2:3."),
]
Labels = Annotated[Path | None, typer.Option("--labels", help="A labels.csv: file, label.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Where = Annotated[str | None, typer.Option("--device", help="auto (the fastest), cpu, cuda, mps.")]
Encoder = Annotated[str | None, typer.Option("--encoder", help="What compares images.")]
FirstSeed = Annotated[
    int | None,
    typer.Option("--seed", min=0, max=MOST_SEED, help="The first block's; the others count up."),
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A folder, an id, or latest.")]
Below = Annotated[Path, typer.Option("--runs", help="Where runs lie.")]


@app.command()
def demo(
    out: Out = None,
    seeds: Seeds = None,
    seed: FirstSeed = None,
    device: Where = None,
    dry_run: DryRun = False,
    lang: Lang = None,
) -> None:
    """The main job on 300 drawings, from training to table and page."""
    from kurabe.commands.studying import demo

    demo(out, seeds, seed or 0, device, dry_run, language(lang))


@app.command()
def study(
    source: Annotated[str, typer.Argument(metavar="FOLDER|FILE.toml")],
    add: Annotated[list[str] | None, typer.Option("--add", help="One more column.")] = None,
    columns: Annotated[str | None, typer.Option("--columns", help="Only these: A,B,…")] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="Made elsewhere: NAME=runs/{seed}/images.")
    ] = None,
    question: Annotated[
        asked.Question | None, typer.Option("--question", help="About methods, or one run each.")
    ] = None,
    labels: Labels = None,
    base: Base = None,
    prompt: Prompt = None,
    budget: Spend = None,
    seeds: Seeds = None,
    seed: FirstSeed = None,
    device: Where = None,
    encoder: Encoder = None,
    size: Size = None,
    aspects: Aspects = None,
    grey: Grey = None,
    out: Out = None,
    on: Annotated[str, typer.Option("--on", help="local, or ray: a cluster's nodes.")] = "local",
    dry_run: DryRun = False,
    yes: Yes = False,
    lang: Lang = None,
) -> None:
    """Compare methods on your own images: plan, runs, table. The same command continues."""
    from kurabe.commands.studying import study
    from kurabe.studies.begin import Request

    request = Request(
        source=source,
        add=tuple(add or ()),
        columns=None if columns is None else tuple(c for c in columns.split(",") if c.strip()),
        first_seed=seed,
        device=device,
        encoder=encoder,
        labels=str(labels) if labels else None,
        base=base,
        prompt=prompt,
        budget=budget,
        seeds=seeds,
        out=out,
        on=on,
        size=size,
        aspects=aspects,
        channels=None if grey is None else 1 if grey else 3,
        outside=tuple(column or ()),
        question=question.value if question else None,
    )
    study(request, dry_run, yes, language(lang))


@app.command(epilog=MARKS)
def compare(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...")] = None,
    study: Annotated[str | None, typer.Option("--study", help="A study's folder or name.")] = None,
    format: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.table,
    facts: Annotated[bool, typer.Option("--facts", help="Of a study: facts below, too.")] = False,
    lang: Lang = None,
) -> None:
    """Methods side by side: facts or, with a study, what was measured."""
    from kurabe.commands.facts import compare

    compare(tuple(ids or ()), study, format.value, language(lang), facts=facts)


@app.command()
def methods(
    id: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    lang: Lang = None,
) -> None:
    """The catalogue, or one method's card."""
    from kurabe.commands.facts import methods

    methods(id, json, language(lang))


@data_app.command("check")
def data_check(
    path: Annotated[str, typer.Argument(metavar="PATH")],
    labels: Labels = None,
    size: Size = None,
    aspects: Aspects = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    lang: Lang = None,
) -> None:
    """What would be kept and dropped, and why; duplicates, sizes, modes, labels."""
    from kurabe.commands.facts import check

    check(path, str(labels) if labels else None, size, aspects, json, language(lang))


@data_app.command("get")
def data_get(name: Annotated[str, typer.Argument(metavar="NAME")], lang: Lang = None) -> None:
    """Fetch a known set into the cache and check it."""
    from kurabe.commands.facts import get

    get(name, language(lang))


@data_app.command("list")
def data_list(lang: Lang = None) -> None:
    """The known sets, with their licences."""
    from kurabe.commands.facts import sets

    sets(language(lang))


@app.command()
def fit(
    method: Annotated[str, typer.Argument(metavar="METHOD")],
    data: Data,
    base: Base = None,
    prompt: Prompt = None,
    out: Out = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED)] = 0,
    budget: Spend = None,
    set: Annotated[list[str] | None, typer.Option("--set", help="A setting, a.b=1.")] = None,
    size: Size = None,
    aspects: Aspects = None,
    grey: Grey = None,
    device: Device = "auto",
    encoder: Encoder = None,
    processes: Annotated[
        int, typer.Option("--processes", min=1, max=1024, help="How many share the training.")
    ] = 1,
    lang: Lang = None,
) -> None:
    """Train one method once, and measure it. The same command continues."""
    from kurabe.commands.running import fit

    channels = None if grey is None else 1 if grey else 3
    fit(
        method, data, base=base, out=out, seed=seed, budget=budget, settings=tuple(set or ()),
        size=size, channels=channels, device=device, lang=language(lang), encoder=encoder,
        prompt=prompt, processes=processes, aspects=aspects,
    )  # fmt: skip


@app.command()
def runs(below: Below = Path(), lang: Lang = None) -> None:
    """What runs there are, and in which state."""
    from kurabe.commands.running import runs

    runs(below, language(lang))


@app.command()
def sample(
    run: RunArgument,
    out: Annotated[Path, typer.Option("--out", help="The folder for the images.")],
    n: Annotated[int, typer.Option("-n", min=1, max=10**6, help="How many images.")] = 64,
    steps: Annotated[int | None, typer.Option(min=1, max=10_000, help="Evaluations each.")] = None,
    seed: Annotated[
        int,
        typer.Option(min=0, max=MOST_IMAGE_SEED, help="The first image's; the others count up."),
    ] = 0,
    class_name: Annotated[
        str | None, typer.Option("--class", help="Only this one, of a run that knows classes.")
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(min=0, max=1000, help="The weight, of a run that is drawn with guidance."),
    ] = None,
    device: Device = "auto",
    below: Below = Path(),
    lang: Lang = None,
) -> None:
    """Draw images from a run or a base, a PNG each."""
    from kurabe.commands.running import Drawing, sample

    how = Drawing(n, seed, steps, class_name, guidance)
    sample(run, out, how, device, below, language(lang))


@app.command()
def embed(
    run: RunArgument,
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="The Parquet file.")],
    layer: Annotated[str | None, typer.Option(help="Else the run's best on validation.")] = None,
    log_snr: Annotated[
        float | None, typer.Option(min=-20, max=20, help="How little noise; else as found.")
    ] = None,
    grid: Annotated[int | None, typer.Option(min=1, max=1024, help="Pool to grid × grid.")] = None,
    draws: Annotated[int, typer.Option(min=1, max=1000, help="Noise draws to average over.")] = 4,
    device: Device = "auto",
    below: Below = Path(),
    lang: Lang = None,
) -> None:
    """Write the features of images as Parquet, with their ids."""
    from kurabe.commands.running import embed

    embed(run, data, out, layer, log_snr, grid, draws, device, below, language(lang))


@app.command()
def export(
    run: RunArgument,
    out: Annotated[Path, typer.Option("--out", help="A folder or file not there yet.")],
    to: Annotated[str, typer.Option("--to", help="diffusers, diffusers-lora, peft, kohya, …")] = (
        "diffusers"
    ),
    below: Below = Path(),
    lang: Lang = None,
) -> None:
    """Write a run's model, or what it changed of its base, as other tools load it."""
    from kurabe.commands.running import export

    export(run, out, to, below, language(lang))


@app.command()
def evaluate(
    run: RunArgument,
    data: Annotated[str | None, typer.Option("--data", help="Other images than the run's.")] = None,
    device: Device = "auto",
    below: Below = Path(),
    lang: Lang = None,
) -> None:
    """Measure a run again, or on other images."""
    from kurabe.commands.running import evaluate

    evaluate(run, data, device, below, language(lang))


@app.command()
def serve(
    runs: Annotated[Path, typer.Option("--runs", help="Where runs and studies lie.")] = Path(),
    host: Annotated[str, typer.Option(help="127.0.0.1 is this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8000,
    lang: Lang = None,
) -> None:
    """The pages: catalogue, comparison, studies as they run."""
    from kurabe.commands.serving import serve

    serve(runs, host, port, language(lang))


def main() -> None:
    """The `kurabe` command: runs, and turns every error into a sentence and an exit code."""
    standard_streams.prepare()
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(answer(sys.argv[1:]))


def answer(arguments: list[str]) -> int:
    """Run one command line; the exit code. What other packages failed to add is said at the end."""
    from kurabe import registry

    code = _answer(arguments)
    for problem in registry.told():
        standard_streams.say(problem, code=0)
    return code


def _answer(arguments: list[str]) -> int:
    from kurabe.errors import KurabeError, refusal, refusal_in, sentence, unexpected

    try:
        code = app(arguments or ["--help"], prog_name="kurabe", standalone_mode=False)
        # What could not be said is found out here, not while Python ends.
        sys.stdout.flush()
    except typer.TyperException as error:
        return standard_streams.say(asked.mistake(error), code=2)
    except KurabeError as error:
        return standard_streams.say(str(error), code=error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except (BrokenPipeError, SystemExit):
        # Whoever read the output has seen enough; click ends with SystemExit there.
        standard_streams.let_go(sys.stdout)
        return 0
    except MemoryError as error:
        return standard_streams.say(sentence(error), code=1)
    except Exception as error:
        if refused := refusal_in(error):
            standard_streams.let_go(sys.stdout)
            said = refusal(refused)
            return standard_streams.say(str(said), code=said.exit_code)
        if os.environ.get("KURABE_TRACEBACK"):
            raise
        return standard_streams.say(unexpected(error), code=1)
    return code if isinstance(code, int) else 0


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
