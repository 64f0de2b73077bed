"""`hub publish|publish-key|publications|publisher-key`: what head office says to its branches."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import TYPE_CHECKING, Annotated

import typer

from edge_agent.cli.hub_crm import open_ledger
from edge_agent.cli.out import AsJson, ConfigFile, console, emit, settings

if TYPE_CHECKING:
    from edge_agent.hub import Ledger
    from edge_agent.manifest import Manifest
    from edge_agent.signing import Signer

_SHORT = 12


def register(group: typer.Typer) -> None:
    """Add these commands to the group `hub`."""
    group.command()(publish)
    group.command()(publish_key)
    group.command()(publications)
    group.command("publisher-key")(publisher_key)


def publisher_key(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show the public key of the publisher, for `publisher_key` in [uplink] at every branch; make it where needed."""
    from edge_agent import paths
    from edge_agent.signing import Signer

    path = paths.under_state(settings(config).hub.publisher_file)
    signer = Signer.load(path) if path.exists() else Signer.new(path)
    if as_json:
        emit({"type": "key", "file": str(path), "public": signer.public})
    else:
        typer.echo(f"key file     {path}\npublic key   {signer.public}")


def publish(
    what: Annotated[Path, typer.Argument(metavar="PACK|RULES", help="Folder of a pack, or a rule file (.yaml).")],
    branch: Annotated[
        list[str] | None, typer.Option("--branch", help="Only this branch, by name or key (may be repeated).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Even if it is older than what is in force.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Publish a dictionary pack or a rule set to every branch; each puts it in force as soon as it is connected."""
    from edge_agent import paths
    from edge_agent.errors import DictionaryError
    from edge_agent.hub.publications import Publications
    from edge_agent.manifest import MAX_BYTES, is_older
    from edge_agent.signing import Signer

    signer = Signer.load(paths.under_state(settings(config).hub.publisher_file))
    kind, name, version, content = _read(what)
    if len(content) > MAX_BYTES:
        raise DictionaryError(f"larger than {MAX_BYTES} bytes", where=str(what), remedy="split it into two packs")
    with open_ledger(config, readonly=False) as ledger:
        last = Publications(ledger.base).last(kind, name)
        if last is not None and is_older(version, last.version) and not force:
            raise DictionaryError(
                f"version {version} is older than {last.version}, which was published",
                where=str(what),
                remedy="raise `version` in pack.toml, or publish it with --force if it is meant",
            )
        manifest = _sign(
            ledger, signer, kind, name, content, version=version, force=force, branches=_keys(ledger, branch or ())
        )
    if as_json:
        emit({"type": "hub.publication", **asdict(manifest)})
    else:
        to = ", ".join(branch) if branch else "every branch"
        typer.echo(f"{kind} {name} {version} ({manifest.sha256[:_SHORT]}) is published to {to}".replace("  ", " "))
        typer.echo("`edge-agent hub publications` shows who has it in force")


def publish_key(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Tell every branch the key that the hub will have next (`keys new --for hub --next`), before it is switched."""
    from edge_agent import keys, paths
    from edge_agent.manifest import HUB_KEY
    from edge_agent.signing import Signer

    given = settings(config).hub
    signer = Signer.load(paths.under_state(given.publisher_file))
    path = paths.under_state(given.key_file)
    pair = keys.load(path)
    if (following := keys.next_of(path)).exists():
        pair = keys.load(following)
    with open_ledger(config, readonly=False) as ledger:
        manifest = _sign(ledger, signer, HUB_KEY, "hub", pair.public.encode())
    if as_json:
        emit({"type": "hub.publication", **asdict(manifest)})
    else:
        typer.echo(f"the hub's key {pair.fingerprint} is published to every branch")
        typer.echo(
            "once `edge-agent hub publications` counts every branch: `edge-agent keys switch --for hub`, then restart"
        )


def publications(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show what is published, and at which branches it is in force, failed, or is still awaited."""
    from rich.table import Table

    from edge_agent.hub.publications import Publications

    with open_ledger(config) as ledger:
        rows = Publications(ledger.base).published()
    if as_json:
        for row in rows:
            emit({"type": "hub.publication", **asdict(row)})
        return
    table = Table("what", "version", "content", "published", "in force", "failed", "awaited", box=None)
    for row in rows:
        table.add_row(
            f"{row.kind} {row.name}", row.version or "-", row.sha256[:_SHORT], row.at, str(len(row.took)),
            "; ".join(f"{branch}: {why}" for branch, why in row.failed.items()) or "0",
            f"{len(row.waits)} {', '.join(row.waits[:5])}{' …' if len(row.waits) > 5 else ''}".strip(),
        )  # fmt: skip
    console().print(table if rows else "nothing is published yet")


def _read(what: Path) -> tuple[str, str, str, bytes]:
    """Return kind, name, version and content of a pack or a rule file that is right."""
    from edge_agent.errors import DictionaryError
    from edge_agent.manifest import PACK, RULES, Manifest

    if what.is_dir():
        from edge_agent.terms import Pack

        pack = Pack.load(what)
        return PACK, pack.id, pack.version, pack.content
    from edge_agent.nodes import Rules

    Rules.load([what])
    content = what.read_bytes()
    try:
        Manifest.from_bytes(Manifest(RULES, what.stem, "", 0, "", len(content)).to_bytes())
    except ValueError as error:
        raise DictionaryError(
            f"can't be published: {error}",
            where=str(what),
            remedy="name the file with letters, digits, `.`, `_` and `-`; it must not be empty",
        ) from error
    return RULES, what.stem, "", content


def _sign(
    ledger: Ledger,
    signer: Signer,
    kind: str,
    name: str,
    content: bytes,
    *,
    version: str = "",
    force: bool = False,
    branches: tuple[str, ...] = (),
) -> Manifest:
    """Sign a content and write it down; branches are offered it from now on."""
    from edge_agent.hub.publications import Publications
    from edge_agent.manifest import Manifest

    now_ms = time.time_ns() // 1_000_000
    board = Publications(ledger.base)
    sha256 = hashlib.sha256(content).hexdigest()
    manifest = Manifest(kind, name, version, board.next_serial(now_ms), sha256, len(content), force, branches)
    board.publish(manifest, signer.sign(manifest.to_bytes()), content, now_ms)
    return manifest


def _keys(ledger: Ledger, names: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys of branches that came at least once."""
    known = ledger.branches()
    keys = []
    for name in names:
        found = [one.key for one in known if name in (one.name, one.key)]
        if not found:
            raise typer.BadParameter(f"no branch {name!r} has come yet; `edge-agent hub branches` shows them")
        keys += found
    return tuple(sorted(set(keys)))
