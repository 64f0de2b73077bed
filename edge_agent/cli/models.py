"""`model`: the recognizer's weights: which are here, where they come from, and what they may be trusted with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli.out import AsJson, ConfigFile, console, emit, settings

if TYPE_CHECKING:
    from edge_agent.asr import Card
    from edge_agent.asr.check import Compared, Context, Prompting, Vocabulary
    from edge_agent.config import Config
    from edge_agent.types import Samples

Name = Annotated[str, typer.Option("--name", help="Name of the model here; without it, that of what is given.")]
Replace = Annotated[bool, typer.Option("--replace", help="Take the place of a model of the same name.")]
Which = Annotated[str, typer.Argument(help="Name of a model that `model list` shows, or a folder.")]

_MOST_TERMS = 200


def register(app: typer.Typer) -> None:
    """Add this group's commands to the front door."""
    group = typer.Typer(help="The recognizer's models: bring them in, check them, choose one.", no_args_is_help=True)
    group.command("list")(list_models)
    group.command("import")(bring_in)
    group.command("fetch")(fetch)
    group.command("verify")(verify)
    group.command("check")(check)
    group.command("use")(use)
    app.add_typer(group, name="model")


def list_models(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show the models on this machine, and which one is in use."""
    from rich.table import Table

    from edge_agent import paths, rooms
    from edge_agent.asr import Card, library

    given = settings(config)
    used = rooms.model_folder(given).resolve()
    folders = library.models(paths.shipped() / "models") + library.models(rooms.models_library())
    if used not in [folder.resolve() for folder in folders]:
        folders.append(used)
    table = Table(box=None)
    for heading in ("", "model", "context", "size", "folder"):
        table.add_column(heading)
    for folder in folders:
        card, here = Card.load(folder), folder.resolve() == used
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        if as_json:
            emit(_row(card, folder) | {"bytes": size, "in_use": here})
        else:
            buckets = "/".join(map(str, card.buckets_s)) + " s" + ("" if card.sha256 else ", no card")
            table.add_row("*" if here else "", card.title, buckets, f"{size / 1e6:.0f} MB", str(folder))
    if not as_json:
        console().print(table)


def bring_in(
    source: Annotated[Path, typer.Argument(help="A model's folder, or an archive of it: .tar, .tar.gz, .zip.")],
    name: Name = "",
    replace: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Import a model from a folder or an archive; no network is needed."""
    from edge_agent import rooms
    from edge_agent.asr import library

    _came(library.bring_in(source, rooms.models_library(), name, replace=replace), as_json)


def fetch(
    model: Annotated[str, typer.Argument(help="owner/name of a repository, or a short name such as `small`.")],
    name: Name = "",
    revision: Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit.")] = None,
    mirror: Annotated[str | None, typer.Option("--mirror", help="Address of a mirror, instead of HF_ENDPOINT.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Take it from the hub's cache on this machine.")] = False,
    replace: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Fetch a model in CTranslate2's form from Hugging Face's hub or a mirror; the appliance itself never does."""
    from edge_agent import rooms
    from edge_agent.asr.fetch import fetch as fetch_model

    folder = fetch_model(
        model, rooms.models_library(), name, revision=revision, mirror=mirror, offline=offline, replace=replace
    )
    _came(folder, as_json)


def verify(which: Which, as_json: AsJson = False) -> None:
    """Compare every file of a model with the hash in its card; a model that differs does not start."""
    from edge_agent.asr import verify as compare

    folder = _folder(which)
    card = compare(folder)
    if as_json:
        emit(_row(card, folder) | {"files": len(card.sha256), "ok": bool(card.sha256)})
    elif card.sha256:
        typer.echo(f"{card.title}: all {len(card.sha256)} files are those of its card")
    else:
        typer.echo(f"{card.title} has no card with hashes; `edge-agent model check {which}` writes one")


def use(which: Which, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Choose the model that the appliance uses from its next start on; the shipped one is `zh-starter`."""
    from edge_agent import paths, rooms
    from edge_agent.asr import Card, library
    from edge_agent.errors import ConfigError

    given = settings(config)
    if given.model.path:
        raise ConfigError(
            "the configuration names a model, and that wins",
            where="[model].path",
            remedy=f"remove `path` there, or set it to {_folder(which)}",
        )
    folder = _folder(which)
    shipped = folder.resolve() == (paths.shipped() / "models" / rooms.EMBEDDED_MODEL).resolve()
    library.use(rooms.models_library(), None if shipped else folder)
    card = Card.load(folder)
    if as_json:
        emit(_row(card, folder) | {"in_use": True})
    else:
        typer.echo(f"{card.title} is used from the next start on: restart the appliance")


def check(
    which: Which,
    audio: Annotated[list[Path] | None, typer.Argument(help="Your own recordings, five minutes or more.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Replace the card that the model has; it is kept as card.toml.old.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most utterances that are tried.")] = 40,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Find out what a model may be trusted with on your own audio, and write its card.

    Whisper works on windows of 30 seconds. With less it is several times faster, but stock models may lose or invent
    text then: a shorter context is allowed only if it gives the same text on your recordings. Without recordings the
    card says nothing but the hashes. Likewise hotwords are told only to a model that makes use of them.
    """
    from dataclasses import replace

    from edge_agent import rooms
    from edge_agent.asr import Engine
    from edge_agent.asr import check as checking
    from edge_agent.asr import verify as compare
    from edge_agent.asr.card import FILE, WINDOW_S, digest, to_toml
    from edge_agent.asr.library import HASHED
    from edge_agent.asr.trim import ALL, CHINESE

    given = settings(config)
    folder = _folder(which)
    old = compare(folder)
    arithmetic = given.model.compute_type
    engine = Engine.open(folder, threads=1, compute_type=arithmetic, tokens=ALL)
    clips = _clips(audio or [], given, limit)
    found: list[Context] = []
    told: Prompting | None = None
    fewer: Vocabulary | None = None
    if clips:
        found = list(checking.contexts(engine, clips))
        if not engine.trimmed:
            narrow = Engine.open(folder, threads=1, compute_type=arithmetic, tokens=CHINESE)
            fewer = checking.vocabulary(engine, narrow, clips)
        terms = rooms.open_knowledge(given).dictionary
        told = checking.prompting(
            engine,
            clips,
            lambda text: [hit.term for hit in terms.recognise(text).terms],
            [entry.term.term for entry in terms.entries][:_MOST_TERMS],
        )
    safe = tuple(one.bucket_s for one in found if one.safe)
    hashes = {name: digest(folder / name) for name in HASHED if (folder / name).is_file()}
    card = replace(
        old,
        version=old.version or hashes["model.bin"][:8],
        buckets_s=(*safe, WINDOW_S) if clips else old.buckets_s,
        prompt_tokens=old.prompt_tokens if told is None else checking.SLOT if told.helps else 0,
        tokens=old.tokens if fewer is None else CHINESE if fewer.safe else ALL,
        sha256=hashes,
        measured={**old.measured, "checked_utterances": len(clips)},
    )
    there = (folder / FILE).exists()
    if write or not there:
        if there:
            (folder / FILE).replace(folder / f"{FILE}.old")
        (folder / FILE).write_text(to_toml(card), encoding="utf-8")
    _report(card, folder, found, told, fewer, written=write or not there, as_json=as_json)


def _report(
    card: Card,
    folder: Path,
    found: list[Context],
    told: Prompting | None,
    fewer: Vocabulary | None,
    *,
    written: bool,
    as_json: bool,
) -> None:
    from dataclasses import asdict

    if as_json:
        for one in found:
            emit({"type": "context", **asdict(one), "safe": one.safe})
        if fewer is not None:
            emit({"type": "vocabulary", **asdict(fewer), "safe": fewer.safe})
        if told is not None:
            emit({"type": "prompting", **asdict(told), "helps": told.helps})
        emit(_row(card, folder) | {"written": written})
        return
    screen = console()
    compared: list[tuple[str, str, Compared]] = [(f"{one.bucket_s:>2} s of context", "at 30 s", one) for one in found]
    compared += [("Chinese tokens alone", "with all tokens", fewer)] if fewer is not None else []
    for what, whole, less in compared:
        verdict = "safe" if less.safe else "not shown to be safe"
        differs = "no text" if less.difference is None else f"{less.difference:.1%} of the characters differ"
        screen.print(
            f"{what}: {verdict}. {less.same} of {less.clips} texts are those {whole}, {differs};"
            f" {less.seconds:.2f} s an utterance, {less.whole_s:.2f} s {whole}",
            soft_wrap=True,
        )
    if told is not None:
        verdict = "helps" if told.helps else "was not shown to help"
        screen.print(
            f"Prompting {verdict}. Of {told.terms} terms said, {told.untold} are written untold and {told.told} told;"
            f" {told.invented} invented",
            soft_wrap=True,
        )
    if not found:
        screen.print("No recordings were given: nothing but the hashes was checked.")
    buckets = "/".join(map(str, card.buckets_s))
    state = f"card.toml in {folder} says so" if written else "the card was left as it is; --write replaces it"
    screen.print(
        f"{card.title}: context {buckets} s, {card.tokens} tokens, prompt slot {card.prompt_tokens} tokens. {state}",
        soft_wrap=True,
    )


def _clips(files: list[Path], config: Config, limit: int) -> list[Samples]:
    """Cut recordings into utterances as the appliance does, spread over all of them."""
    from edge_agent import rooms
    from edge_agent.types import Chunk, Speaker
    from edge_agent.vad import Segmenter

    found: list[Samples] = []
    for file in files:
        source = rooms.open_file(config, file, [Speaker.UNKNOWN])
        segmenter = Segmenter(source.call, rooms.corridor_settings(config).endpoint)
        for item in source:
            if isinstance(item, Chunk):
                found += [utterance.samples for utterance in segmenter.feed(item)]
        found += [utterance.samples for utterance in segmenter.flush()]
    return found[:: max(1, len(found) // limit)][:limit]


def _folder(which: str) -> Path:
    """Return the folder of a model that is named or given."""
    from edge_agent import paths, rooms
    from edge_agent.errors import ModelError

    for folder in (rooms.models_library() / which, paths.shipped() / "models" / which, Path(which)):
        if folder.is_dir():
            return folder
    raise ModelError(f"there is no model called {which!r}", remedy="`edge-agent model list` shows those that are here")


def _came(folder: Path, as_json: bool) -> None:
    from edge_agent.asr import Card

    card = Card.load(folder)
    if as_json:
        emit(_row(card, folder))
        return
    typer.echo(f"{card.title} lies in {folder}")
    typer.echo(f"next: `edge-agent model check {folder.name} RECORDING…`, then `edge-agent model use {folder.name}`")


def _row(card: Card, folder: Path) -> dict[str, Any]:
    return {
        "type": "model",
        "name": card.name,
        "version": card.version,
        "folder": str(folder),
        "buckets_s": list(card.buckets_s),
        "prompt_tokens": card.prompt_tokens,
        "tokens": card.tokens,
        "hashes": len(card.sha256),
    }
