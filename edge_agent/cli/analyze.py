"""`transcribe` and `analyze`: recordings in, what was said and what mattered out."""

from __future__ import annotations

import heapq
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli.out import AsJson, ConfigFile, console, emit, report, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from edge_agent.config import Config
    from edge_agent.errors import EdgeError
    from edge_agent.pipeline import Outcome
    from edge_agent.types import Finding, Speaker, Transcript

    Hear = Callable[[Path, Iterator[Outcome], Console], None]

Files = Annotated[list[Path], typer.Argument(help="Recordings: any file with sound, mono or one party a channel.")]
Packs = Annotated[list[str] | None, typer.Option("--pack", "-p", help="Dictionary pack; may be given several times.")]
Speakers = Annotated[str, typer.Option("--speakers", help="Who speaks on each channel, in order.")]
Model = Annotated[str, typer.Option("--model", "-m", help="Folder of a CTranslate2 Whisper model.")]


def register(app: typer.Typer) -> None:
    """Add this group's commands to the front door."""
    app.command()(transcribe)
    app.command()(analyze)


def transcribe(
    files: Files,
    pack: Packs = None,
    speakers: Speakers = "agent,customer",
    model: Model = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write down what was said in recordings, in order of start, with the dictionary's terms."""
    given = _settings(config, pack, model)

    def hear(path: Path, outcomes: Iterator[Outcome], screen: Console) -> None:
        from edge_agent.cli import show

        if not as_json and len(files) > 1:
            screen.print(f"[bold]{path}[/bold]")
        for transcript in _by_start(outcomes, given.vad.max_utterance_ms):
            if as_json:
                emit(show.utterance_json(transcript, str(path)))
            else:
                screen.print(show.transcript_line(transcript), soft_wrap=True)

    _each(files, given, speakers, hear, as_json=as_json)


def analyze(
    files: Files,
    pack: Packs = None,
    speakers: Speakers = "agent,customer",
    model: Model = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write down what was said and find the moments that matter; prints utterances and events as they come."""
    given = _settings(config, pack, model)

    def hear(path: Path, outcomes: Iterator[Outcome], screen: Console) -> None:
        from edge_agent.cli import show

        findings: list[Finding] = []
        if not as_json and len(files) > 1:
            screen.print(f"[bold]{path}[/bold]")
        for outcome in outcomes:
            if as_json:
                show.emit_outcome(outcome)
            else:
                show.show(screen, outcome)
                findings += outcome.findings
        if not as_json:
            screen.print(show.node_table(findings))

    _each(files, given, speakers, hear, as_json=as_json)


def _settings(path: Path | None, packs: list[str] | None, model: str) -> Config:
    given = settings(path)
    if packs:
        given = given.model_copy(update={"dictionary": given.dictionary.model_copy(update={"packs": tuple(packs)})})
    if model:
        given = given.model_copy(update={"model": given.model.model_copy(update={"path": model})})
    return given


def _each(files: list[Path], config: Config, speakers: str, hear: Hear, *, as_json: bool) -> None:
    """Hear each file; one that fails is reported and does not keep the others from being heard."""
    from edge_agent import rooms
    from edge_agent.errors import EdgeError
    from edge_agent.pipeline import Corridor

    legs = _legs(speakers)
    desks, knowledge = rooms.open_desks(config), rooms.open_knowledge(config)
    failure: EdgeError | None = None
    for path in files:
        try:
            source = rooms.open_file(config, path, legs)
            corridor = Corridor(desks, knowledge, rooms.corridor_settings(config))
            broken: list[EdgeError] = []
            with _progress(path.name, source.duration_ms, as_json=as_json) as (screen, advance):
                corridor.attach(source)
                corridor.close()
                try:
                    hear(path, _watched(corridor.outcomes(), advance, broken), screen)
                finally:
                    corridor.abandon()
            if broken:  # told last, so that what was heard until then is printed first
                raise broken[0]
        except EdgeError as error:
            if len(files) == 1:
                raise
            report(error)
            failure = failure or error
    if failure is not None:
        raise typer.Exit(failure.exit_code)


def _watched(outcomes: Iterator[Outcome], advance: Callable[[int], None], broken: list[EdgeError]) -> Iterator[Outcome]:
    """Pass outcomes on, move the progress bar, and note what ended the call early."""
    from edge_agent.hearing import Closed

    for outcome in outcomes:
        yield outcome
        if outcome.transcript is not None:
            advance(outcome.transcript.end_ms)
        if isinstance(outcome.item, Closed) and outcome.item.error is not None:
            broken.append(outcome.item.error)


def _by_start(outcomes: Iterator[Outcome], longest_ms: int) -> Iterator[Transcript]:
    """Sort the transcripts of one call by their start, holding back only what may still be overtaken.

    Utterances come in the order they end. None is longer than `longest_ms`, so that what starts that long before the
    latest end can't be overtaken any more.
    """
    waiting: list[tuple[int, int, Transcript]] = []
    number = count()
    for outcome in outcomes:
        if outcome.transcript is None:
            continue
        heapq.heappush(waiting, (outcome.transcript.start_ms, next(number), outcome.transcript))
        settled = outcome.transcript.end_ms - 2 * longest_ms
        while waiting and waiting[0][0] <= settled:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def _legs(speakers: str) -> list[Speaker]:
    from edge_agent.types import Speaker

    try:
        return [Speaker(name.strip()) for name in speakers.split(",")]
    except ValueError as error:
        raise typer.BadParameter("use agent, customer and unknown, one a channel", param_hint="--speakers") from error


@contextmanager
def _progress(name: str, duration_ms: int | None, *, as_json: bool) -> Iterator[tuple[Console, Callable[[int], None]]]:
    """Show a progress bar where a person watches; yields where to print lines, and what moves the bar."""
    screen = console()
    # Bar and lines must share a console where they share a terminal, or they overwrite each other.
    bar = screen if screen.is_terminal else console(stderr=True)
    if not bar.is_terminal or duration_ms is None or (as_json and screen.is_terminal):
        yield screen, lambda ms: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=bar, transient=True) as progress:
        task = progress.add_task(name, total=duration_ms)
        yield screen, lambda ms: progress.update(task, completed=ms)
