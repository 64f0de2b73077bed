"""`edge-agent eval asr`: how well the recognizer does on recordings whose text is known."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli import out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.table import Table

    from edge_agent.cli.clips import Heard, Sum
    from edge_agent.config import Config


class Hotwords(StrEnum):
    """Which hotwords the recognizer is told."""

    NONE = "none"
    LISTED = "listed"


def asr(
    folder: Annotated[Path, typer.Argument(help="Folder with recordings, and their references in *.jsonl.")],
    hotwords: Annotated[
        Hotwords, typer.Option("--hotwords", help="What the recognizer is told: nothing, or each line's `hotwords`.")
    ] = Hotwords.NONE,
    model: Annotated[str, typer.Option("--model", "-m", help="Folder of a CTranslate2 Whisper model.")] = "",
    beam: Annotated[int, typer.Option("--beam", min=0, max=20, help="Beam size; 0: as configured.")] = 0,
    bucket: Annotated[
        int,
        typer.Option(
            "--bucket", min=0, max=30, help="Least context in seconds, checked or not; 0: as the model's card says."
        ),
    ] = 0,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Most recordings of each set; 0: all.")] = 0,
    errors: Annotated[bool, typer.Option("--errors", help="List every recording in which something is wrong.")] = False,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Hold what the recognizer writes against what is said.

    A line of references is {"audio": "a.wav", "text": "…"}, where `audio` counts from FOLDER, with any of `terms` (what
    occurs in the text), `hotwords` (what the recognizer may be told) and `set` (without it, the name of the file). An
    empty text is no speech: text that is written for it is counted apart from the errors.

    A recording that fits the model's longest context is recognized as one utterance; a longer one is cut into
    utterances as `transcribe` does. Several channels are mixed to one.

    Both texts are compared in one form: Unicode's NFKC, upper case, no punctuation and no blanks but between digits,
    numbers in digits (百分之十五 is 15%, 三万八 is 38000, 二零二六 is 2026, 幺 is 1, 两 is 2) unless they may mean
    something else (三四 is three or four). CER is substitutions, deletions and insertions over the characters of this
    form of the references. The real-time factor is the time in which recognition ran, by the clock, over that of the
    audio.
    """
    from edge_agent import rooms
    from edge_agent.cli import clips

    sets = clips.read(folder, limit or None)
    given = _settings(out.settings(config), model, beam)
    engine = rooms.open_engine(given)
    if bucket:
        engine = engine.with_context(bucket)
    tell = hotwords is Hotwords.LISTED
    if tell and not engine.takes_hotwords:
        note = f"{engine.name} was not taught to be told hotwords (`prompt_tokens` of its card is 0): it is told none"
        out.console(stderr=True).print(note, markup=False, soft_wrap=True)
    clips.warm_up(engine)
    rows: list[tuple[str, Sum]] = []
    everything: list[Heard] = []
    with progress(sum(map(len, sets.values()))) as advance:
        for name, members in sets.items():
            heard = []
            for one in clips.recognize(members, engine, given, tell=tell):
                heard.append(one)
                advance()
            rows.append(("set", clips.Sum.over(name, heard)))
            everything += heard
    rows.append(("total", clips.Sum.over("all", everything)))
    faults = [one for one in everything if not one.score.perfect] if errors else []
    if as_json:
        _emit(rows, faults, engine.name, given.model.threads)
    else:
        _show(rows, faults, f"{engine.name}, {given.model.threads} thread{'s' * (given.model.threads > 1)}")


def _settings(config: Config, model: str, beam: int) -> Config:
    changes: dict[str, Any] = {"path": model} if model else {}
    if beam:
        changes["beam"] = beam
    return config.model_copy(update={"model": config.model.model_copy(update=changes)})


@contextmanager
def progress(total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar where a person watches; yields what moves it on by one recording."""
    from rich.progress import Progress

    screen = out.console(stderr=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("recordings", total=total)
        yield lambda: progress.advance(task)


def _emit(rows: list[tuple[str, Sum]], faults: list[Heard], model: str, threads: int) -> None:
    for kind, row in rows:
        score = row.score
        out.emit(
            {
                "type": kind,
                "name": row.name,
                "clips": score.clips + score.silent,
                "audio_s": round(row.audio_s, 3),
                "characters": score.characters,
                "cer": score.cer,
                "substitutions": score.substitutions,
                "deletions": score.deletions,
                "insertions": score.insertions,
                "terms": score.terms,
                "terms_found": score.terms_found,
                "term_recall": score.term_recall,
                "wrong_terms": score.wrong_terms,
                "non_speech": score.silent,
                "non_speech_text": score.made_up,
                "prompted": row.told,
                "recognition_s": round(row.recognition_s, 3),
                "real_time_factor": row.real_time_factor,
                "threads": threads,
                "model": model,
            }
        )
    for one in faults:
        score = one.score
        out.emit(
            {
                "type": "error",
                "set": one.clip.set,
                "audio": one.clip.name,
                "reference": one.clip.text,
                "hypothesis": one.text,
                "characters": score.characters,
                "substitutions": score.substitutions,
                "deletions": score.deletions,
                "insertions": score.insertions,
                "terms": score.terms,
                "terms_found": score.terms_found,
                "wrong_terms": score.wrong_terms,
            }
        )


def _table(title: str, *headings: str) -> Table:
    from rich.table import Table

    table = Table("set", title=title or None, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _show(rows: list[tuple[str, Sum]], faults: list[Heard], title: str) -> None:
    from rich.text import Text

    screen = out.console()
    errors = _table(title, "clips", "seconds", "chars", "CER", "sub", "del", "ins", "real time")
    others = _table("", "term recall", "wrong terms", "non-speech with text")
    for kind, row in rows:
        score = row.score
        counts = (score.substitutions, score.deletions, score.insertions)
        if kind == "total":
            errors.add_section()
            others.add_section()
        errors.add_row(
            Text(row.name),
            str(score.clips + score.silent),
            f"{row.audio_s:.1f}",
            str(score.characters),
            _share(score.cer),
            *map(str, counts),
            _share(row.real_time_factor),
        )
        others.add_row(
            Text(row.name),
            f"{_share(score.term_recall)} of {score.terms}" if score.terms else "-",
            str(score.wrong_terms),
            f"{score.made_up} of {score.silent}" if score.silent else "-",
        )
    screen.print(errors)
    total = rows[-1][1].score
    if total.terms or total.wrong_terms or total.silent:
        screen.print(others)
    for one in faults:
        score = one.score
        line = Text(f"{one.clip.set} ", style="dim").append(one.clip.name, style="cyan")
        line.append(f"  sub {score.substitutions} del {score.deletions} ins {score.insertions}", style="bold")
        if score.terms > score.terms_found:
            line.append(f"  terms missed {score.terms - score.terms_found}", style="bold")
        if score.wrong_terms:
            line.append(f"  wrong terms {score.wrong_terms}", style="bold")
        screen.print(line.append(f"\n  said   {one.clip.text}\n  heard  {one.text}"), soft_wrap=True)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
