"""`edge-agent eval spoken`: which terms of a dictionary are found in recordings, and what each part of the way adds."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli import out
from edge_agent.cli.evaluate_asr import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_agent.asr import Engine
    from edge_agent.cli.clips import Utterances
    from edge_agent.cli.evaluate_terms import Tally
    from edge_agent.config import Config
    from edge_agent.terms import Dictionary, Recognition
    from edge_agent.types import Hypothesis, Reading, Samples


class How(StrEnum):
    """What is done for the terms."""

    NONE = "none"
    HOTWORDS = "hotwords"
    CORRECTION = "correction"
    BOTH = "both"
    ALIGN = "both+align"


MEANING = {
    How.NONE: "as the recognizer writes them",
    How.HOTWORDS: "all of the dictionary's listened for in the audio",
    How.CORRECTION: "what sounds like one in the text is corrected",
    How.BOTH: "both; so does the appliance",
    How.ALIGN: "both, and what is doubtful is judged by the decoder (`Whisper.align`)",
}
_DOUBTFUL = 0.6
"""A hit of a lower score is judged by the decoder too."""


def spoken(
    folder: Annotated[Path, typer.Argument(help="Folder with recordings, and their references in *.jsonl.")],
    pack: Annotated[
        list[str] | None, typer.Option("--pack", "-p", help="Pack to load: its name, or its folder. May be repeated.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Folder of a CTranslate2 Whisper model.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="Most recordings of each set; 0: all.")] = 0,
    errors: Annotated[bool, typer.Option("--errors", help="List every missed term and every false alarm.")] = False,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Hold the terms that are found in recordings against those that are said.

    References as for `eval asr`: {"audio": "a.wav", "text": "…", "terms": ["…"]}. Recall is over `terms`, precision
    over what was found: a term that is neither listed nor found in `text` is a false alarm. Five ways are compared side
    by side: the recognizer alone; its audio searched for all terms (hotwords); its text corrected; both, which is what
    the appliance does; and both with the decoder as judge of what is doubtful.
    """
    from edge_agent import rooms
    from edge_agent.cli import clips
    from edge_agent.cli.evaluate_terms import Line, Tally

    given = out.settings(config)
    if model:
        given = given.model_copy(update={"model": given.model.model_copy(update={"path": model})})
    sets = clips.read(folder, limit or None)
    dictionary = _dictionary(given, pack)
    engine = rooms.open_engine(given)
    engine.heed(lambda: dictionary)
    tallies: dict[How, dict[str, Tally]] = {how: {} for how in How}
    with progress(sum(map(len, sets.values()))) as advance:
        for name, members in sets.items():
            for one in clips.hear(members, engine, given):
                said = dictionary.recognise(one.clip.text)
                line = Line(one.clip.where, " ".join(each.text for each in one.hypotheses), one.clip.text, (), name)
                for how, recognition in _ways(one, engine, dictionary):
                    named = [_named(dictionary, term) for term in one.clip.terms]
                    tallies[how].setdefault(name, Tally()).add(line, recognition, said, named)
                advance()
    rows = [(how, name, tally) for how, of in tallies.items() for name, tally in of.items()]
    rows += [(how, "all", Tally.over(of.values())) for how, of in tallies.items()]
    faults = [(line, what, term) for tally in tallies[How.BOTH].values() for line, what, term in tally.faults]
    shown = faults if errors else []
    if as_json:
        for how, name, tally in rows:
            out.emit({"type": "terms", "how": how.value, "set": name, "clips": tally.lines, **_figures(tally)})
        for line, what, term in shown:
            error = {"type": "error", "kind": what, "set": line.kind, "term": term}
            out.emit({**error, "heard": line.heard, "said": line.said, "where": line.where})
    else:
        _show(rows, shown, f"{engine.name}, dictionary {dictionary.version} of {len(dictionary.entries):,} terms")


def _ways(one: Utterances, engine: Engine, dictionary: Dictionary) -> Iterator[tuple[How, Recognition]]:
    """Yield what is found in the utterances of a clip, for each way."""
    for how in How:
        found = [
            _recognise(how, samples, hypothesis, engine, dictionary)
            for samples, hypothesis in zip(one.samples, one.hypotheses, strict=True)
        ]
        yield how, _joined(found)


def _recognise(
    how: How, samples: Samples, hypothesis: Hypothesis, engine: Engine, dictionary: Dictionary
) -> Recognition:
    text, readings = hypothesis.text, hypothesis.readings
    match how:
        case How.NONE:
            return dictionary.recognise(text, correct=False)
        case How.HOTWORDS:
            return dictionary.recognise(text, readings, correct=False)
        case How.CORRECTION:
            return dictionary.recognise(text)
        case How.BOTH:
            return dictionary.recognise(text, readings)
        case How.ALIGN:
            both = dictionary.recognise(text, readings).terms
            doubtful = {hit.term for hit in both if hit.via == "audio" and hit.score < _DOUBTFUL}
            kept = [one for one in readings if one.put not in doubtful or _better(one, samples, text, engine)]
            return dictionary.recognise(text, kept)


def _better(one: Reading, samples: Samples, text: str, engine: Engine) -> bool:
    """Tell whether the decoder finds a reading likelier than the text."""
    own, other = engine.weigh(samples, [text, text[: one.start] + one.put + text[one.end :]])
    return other > own


def _joined(found: list[Recognition]) -> Recognition:
    from edge_agent.terms import Recognition

    return Recognition(
        " ".join(one.text for one in found),
        " ".join(one.heard for one in found),
        tuple(hit for one in found for hit in one.terms),
    )


def _named(dictionary: Dictionary, term: str) -> str:
    """Return the term that a listed spelling means."""
    hits = [hit for hit in dictionary.recognise(term).terms if hit.at == (0, len(term))]
    return hits[0].term if hits else term


def _dictionary(config: Config, packs: list[str] | None) -> Dictionary:
    """Compile packs that are named, by name or by folder, or those configured."""
    from edge_agent.packs import Packs
    from edge_agent.terms import Dictionary, Pack

    site = Packs(config.dictionary)
    if not packs:
        return site.dictionary()
    return Dictionary.compile([Pack.load(Path(name)) if "/" in name else site.load(name) for name in packs])


def _figures(tally: Tally) -> dict[str, Any]:
    figures = tally.json()
    return {
        key: figures[key]
        for key in ("characters", "terms", "found", "recall", "right", "wrong", "precision", "false_alarms_per_hour")
    }


def _show(rows: list[tuple[How, str, Tally]], faults: list[tuple[Any, str, str]], title: str) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("set", "terms", title=title, title_justify="left")
    for heading in ("said", "recall", "precision", "false alarms/h"):
        table.add_column(heading, justify="right")
    last = None
    for how, name, tally in sorted(rows, key=lambda row: (row[1] == "all", row[1], list(How).index(row[0]))):
        if last is not None and name != last:
            table.add_section()
        figures = tally.json()
        shares = ("-" if figures[key] is None else f"{figures[key]:.3f}" for key in ("recall", "precision"))
        alarms = str(figures["false_alarms_per_hour"])
        table.add_row("" if name == last else name, how.value, str(tally.terms), *shares, alarms)
        last = name
    screen = out.console()
    screen.print(table)
    for how, meaning in MEANING.items():
        screen.print(f"{how.value}: {meaning}", style="dim", highlight=False)
    for line, what, term in faults:
        text = Text(f"{what:<12}", style="bold").append(f" {term}", "yellow").append(f"  heard {line.heard}")
        screen.print(text.append(f"  said {line.said}", "dim"), soft_wrap=True)
