"""`edge-agent nodes`: versions of rules and classifier, what runs in shadow, and learning from reviews."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli import out

if TYPE_CHECKING:
    from edge_agent.config import Config
    from edge_agent.nodes.training import Example
    from edge_agent.store import Reviews, Verdict

REPEATED = 3
"""A verdict counts as so many examples: it is of this branch's own calls."""

group = typer.Typer(help="Versions of rules and classifier, shadow, and learning from reviews.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this group's commands to the front door."""
    app.add_typer(group, name="nodes")


@group.callback()
def _together() -> None:
    """Versions of rules and classifier, shadow, and learning from reviews."""


@group.command()
def versions(as_json: out.AsJson = False, config: out.ConfigFile = None) -> None:
    """List the versions of rules and classifier that have judged here; `replay --against` takes their names."""
    from edge_agent import archive, rooms

    out.settings(config)
    for version in archive.versions(rooms.archive_folder()):
        since = version.since.astimezone()
        if as_json:
            out.emit({"type": "version", "name": version.name, "since": since.isoformat(timespec="seconds")})
        else:
            print(f"{version.name}  since {since:%Y-%m-%d %H:%M}")


@group.command()
def shadow(as_json: out.AsJson = False, config: out.ConfigFile = None) -> None:
    """Show what is recorded and not raised: by review, and what a candidate would change."""
    from edge_agent.cli.replay import finding_line

    given = out.settings(config)
    with _store(given, readonly=True) as store:
        shares, silent = store.reviews.shares(), _muted(given, store.reviews)
        rows = store.reviews.shadowed()
    for share in shares:
        if share.by not in silent:
            continue
        if as_json:
            out.emit({"type": "muted", "by": share.by, "accepted": share.accepted, "of": share.of})
        else:
            print(
                f"{share.by}: {share.accepted} of {share.of} accepted; `edge-agent nodes release {share.by}` lets it go"
            )
    for row in rows:
        change = "gained" if row.gained else "lost"
        if as_json:
            out.emit({"type": "shadow", "who": row.who, "change": change, "event": row.event.to_dict()})
        else:
            out.console().print(
                f"{row.event.subject} {row.who}", finding_line(row.gained, row.event.data), soft_wrap=True
            )
    if not (rows or silent or as_json):
        print("nothing is in shadow")


@group.command()
def release(
    by: Annotated[str, typer.Argument(metavar="RULE", help="rule:<id> or classifier:<node>, as `nodes shadow` says.")],
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Let a rule or class raise nodes again; its verdicts are counted anew."""
    from edge_agent.errors import StoreError

    given = out.settings(config)
    with _store(given, readonly=False) as store:
        if by not in _muted(given, store.reviews):
            known = ", ".join(sorted(_muted(given, store.reviews))) or "none"
            raise StoreError(f"{by} is not in shadow", where=str(store.database.path), remedy=f"in shadow: {known}")
        store.reviews.release(by)
    if as_json:
        out.emit({"type": "released", "by": by})
    else:
        print(f"{by} raises nodes again, within half a minute where the appliance runs")


@group.command()
def retrain(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; else a candidate in the state folder.")
    ] = None,
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Train the classifier on the examples and on what reviewers said; what is in force stays until `nodes use`."""
    from edge_agent import paths, rooms
    from edge_agent.errors import DictionaryError
    from edge_agent.nodes import Classifier, training
    from edge_agent.nodes.classifier import encoder_in
    from edge_agent.terms.noise import Noise

    given = out.settings(config)
    with _store(given, readonly=True) as store:
        verdicts = store.reviews.verdicts()
    reviewed = examples_of(verdicts)
    folder = rooms.packs_folder(given) / "nodes"
    if not (folder / "examples").is_dir():
        folder = paths.shipped() / "dictionaries/nodes"
    common = [path for path in rooms.rule_files(given) if path.parent.name == "common"]
    material = training.Material.load(folder, common)
    further = reviewed * REPEATED
    examples = [*material.examples, *further]
    if not as_json:
        print(f"{len(examples)} examples, {len(reviewed)} of them from {len(verdicts)} reviews; this takes minutes")
    spoil = Noise(training.NOISE_SEED).spoil
    old = rooms.classifier_file(given)
    before = None
    with suppress(DictionaryError):  # damaged, of another version: that is what training anew mends
        before = Classifier.load(old) if old and old.exists() else None
    more = [*further, *training.misheard(material.examples, spoil)]
    encoder = before.encoder if before else encoder_in(rooms.shipped_classifier())
    classifier = material.classifier(more, encoder)
    path = output or paths.under_state("candidates") / "classifier.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    classifier.save(path, training.digest(examples))
    told = {
        "type": "retrained",
        "file": str(path),
        "examples": len(examples),
        "reviewed": len(reviewed),
        "right_before": _right(before, reviewed) if before else None,
        "right_after": _right(Classifier.load(path), reviewed),
    }
    if as_json:
        out.emit(told)
        return
    print(f"{path}: right on {told['right_after']} of {len(reviewed)} reviewed turns, {told['right_before']} before")
    print("(they were learned from: try it on other calls before it is used)")
    print(f"  edge-agent replay CALLS.jsonl --shadow {path}    what it would change")
    print(f"  edge-agent run --shadow {path}                   beside what is in force, in production")
    print(f"  edge-agent nodes use {path}                      put it in force")


@group.command()
def use(
    classifier: Annotated[str, typer.Argument(help="Classifier file, a version that is kept, or `shipped`.")],
    as_json: out.AsJson = False,
    config: out.ConfigFile = None,
) -> None:
    """Put a classifier in force, from the next `reload` or start on; `shipped` goes back to the one of the product."""
    import shutil

    from edge_agent import rooms
    from edge_agent.errors import ConfigError, DictionaryError
    from edge_agent.nodes import Classifier

    given = out.settings(config)
    if given.nodes.classifier:
        raise ConfigError(
            f"[nodes].classifier names {given.nodes.classifier}",
            where=str(config),
            remedy="change it there, or leave it empty and run this again",
        )
    home = rooms.own_classifier()
    if classifier == "shipped":
        home.unlink(missing_ok=True)
    else:
        source = rooms.classifier_of(classifier)
        version = Classifier.load(source).version
        try:
            home.parent.mkdir(parents=True, exist_ok=True)
            making = home.with_suffix(".new")
            shutil.copyfile(source, making)
            making.rename(home)
        except OSError as error:
            raise DictionaryError(
                f"can't be written: {error.strerror}", where=str(home), remedy="see who owns the state folder"
            ) from error
        classifier = f"classifier {version}"
    if as_json:
        out.emit({"type": "using", "classifier": classifier})
    else:
        print(f"{classifier} judges from the next start or `edge-agent reload` on")


def examples_of(verdicts: list[Verdict]) -> list[Example]:
    """Turn verdicts into examples: a turn, and the nodes that reviewers left standing in it."""
    from edge_agent.nodes import catalogue
    from edge_agent.nodes.training import Example
    from edge_agent.types import Speaker

    turns: dict[tuple[str, str, str, str], set[str]] = {}
    for each in verdicts:
        if each.speaker == Speaker.UNKNOWN or not each.text or each.node not in catalogue:
            continue
        clean = (" ".join(each.text.split()), " ".join(each.before.split()))
        nodes = turns.setdefault((each.call_id, *clean, each.speaker), set())
        if each.label != "none":
            nodes.add(each.label)
    return [
        Example(text, before, Speaker(speaker), frozenset(nodes)) for (_, text, before, speaker), nodes in turns.items()
    ]


def _right(classifier: Any, examples: list[Example]) -> int:
    """Count the examples of which the classifier raises exactly the nodes."""
    from edge_agent.nodes import catalogue
    from edge_agent.nodes.classifier import SURE
    from edge_agent.nodes.training import around

    right = 0
    for one in examples:
        found = classifier.probabilities(one.text, one.speaker, around(one, None))
        right += {node for node, (sure, _) in found.items() if sure >= SURE and node in catalogue} == set(one.nodes)
    return right


def _muted(config: Config, reviews: Reviews) -> frozenset[str]:
    from edge_agent.store import muted

    return muted(reviews.shares(), config.nodes.review_floor, config.nodes.review_least)


def _store(config: Config, *, readonly: bool) -> Any:
    from edge_agent import paths
    from edge_agent.store import Store

    path = paths.under_state(config.store.database)
    Store.open(path, readonly=True).close()
    return Store.open(path, readonly=readonly)
