"""What head office publishes: signed, offered until it is taken, wholly in force or not at all, known at both ends."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_agent import wire
from edge_agent.config import Config
from edge_agent.errors import DictionaryError, KeyFileError
from edge_agent.hub import Ledger
from edge_agent.hub.publications import Publications
from edge_agent.manifest import HUB_KEY, PACK, RULES, Manifest, is_older
from edge_agent.published import Published
from edge_agent.signing import Signer, is_signed
from edge_agent.store import Keeper
from edge_agent.terms import Pack
from edge_agent.uplink import Uplink

from .line import NOW_MS, Head, hello, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Cli

GOOD = """
rules:
  - id: site.renewal
    name: 招标
    node: opportunity.tender
    who: customer
    any: [准备招标]
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_AGENT_STATE", str(tmp_path / "branch"))
    return tmp_path / "branch"


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer.new(tmp_path / "publisher.key")


def publication(
    content: bytes, serial: int, *, kind: str = RULES, name: str = "site", version: str = "", **more: object
) -> Manifest:
    sha256 = hashlib.sha256(content).hexdigest()
    return Manifest(kind, name, version, serial, sha256, len(content), **more)  # type: ignore[arg-type]


# ---- signatures


def test_a_signature_holds_for_one_message_and_one_signer(signer: Signer, tmp_path: Path) -> None:
    signature = signer.sign(b"message")
    assert is_signed(b"message", signature, signer.public)
    assert not is_signed(b"massage", signature, signer.public)
    assert not is_signed(b"message", signature[:-1] + b"?", signer.public)
    assert not is_signed(b"message", signature, Signer.new(tmp_path / "other.key").public)
    assert not is_signed(b"message", b"", "no key")
    assert Signer.load(tmp_path / "publisher.key").public == signer.public


def test_a_signing_key_is_for_its_owner_and_never_overwritten(signer: Signer, tmp_path: Path) -> None:
    path = tmp_path / "publisher.key"
    with pytest.raises(KeyFileError, match="not overwritten"):
        Signer.new(path)
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="others"):
        Signer.load(path)
    path.chmod(0o600)
    path.write_text("secret = 'x'")
    with pytest.raises(KeyFileError, match="damaged"):
        Signer.load(path)


def test_a_manifest_comes_back_as_it_went_and_nothing_else_is_one() -> None:
    given = publication(b"x", 3, version="1.2", force=True, branches=("k1",))
    assert Manifest.from_bytes(given.to_bytes()) == given
    good = json.loads(given.to_bytes())
    for change in (
        {"kind": "x"},
        {"name": "../x"},
        {"size": 0},
        {"serial": "3"},
        {"branches": 1},
        {"more": 1},
        {"force": 1},
    ):
        with pytest.raises(ValueError, match=r"."):
            Manifest.from_bytes(json.dumps({**good, **change}).encode())
    for garbage in (b"", b"[]", b"\xff", b"null"):
        with pytest.raises(ValueError, match=r"."):
            Manifest.from_bytes(garbage)


def test_versions_are_compared_as_people_count() -> None:
    assert is_older("1.9", "1.10")
    assert is_older("2026.1", "2026.1.1")
    assert not is_older("1.10", "1.9")
    assert not is_older("1.0", "1.0")


# ---- the hub's side


@pytest.fixture
def ledger(where: Path | str) -> Iterator[Ledger]:
    with Ledger.open(where) as ledger:
        yield ledger


def test_a_branch_is_offered_what_it_has_not_got_until_it_says_so(ledger: Ledger, signer: Signer) -> None:
    board = Publications(ledger.base)
    with ledger.transaction():
        for key in ("k1", "k2"):
            ledger.greet(key, f"b{key[1]}", hello(), NOW_MS)
    content = b"x" * (wire.MAX_PIECE + 5)
    all_of_them, for_one = publication(content, 10), publication(b"one", 11, name="other", branches=("k2",))
    board.publish(publication(b"old", 9), b"s9", b"old", NOW_MS)
    board.publish(all_of_them, b"s10", content, NOW_MS)
    board.publish(for_one, b"s11", b"one", NOW_MS)

    def ask(key: str, *installed: tuple[str, str, int, str, str]) -> wire.Message:
        with ledger.transaction():
            return board.answer(key, wire.Report(7, {"dictionary": "d1"}, installed), NOW_MS)

    offer = wire.Offer(all_of_them.to_bytes(), b"s10")
    took = (RULES, "site", 10, all_of_them.sha256, "")
    assert ask("k1") == offer
    assert ask("k1") == offer
    assert ask("k1", took) == wire.Pong()
    assert ask("k2", took) == wire.Offer(for_one.to_bytes(), b"s11")
    assert ask("k2", took, (RULES, "other", 11, for_one.sha256, "no room")) == wire.Pong()
    first = board.piece(wire.Fetch(all_of_them.sha256, 0))
    rest = board.piece(wire.Fetch(all_of_them.sha256, len(first.body)))
    assert first.body + rest.body == content
    assert board.piece(wire.Fetch("none", 0)).body == b""
    found = {row.name: row for row in board.published()}
    assert (found["site"].took, found["site"].waits, found["site"].serial) == (("b1", "b2"), (), 10)
    assert (found["other"].took, found["other"].failed) == ((), {"b2": "no room"})
    assert board.next_serial(5) == 12
    assert [branch.waiting for branch in ledger.branches()] == [7, 7]
    assert ledger.branches()[0].about == {"dictionary": "d1"}


# ---- the branch's side


class Branch:
    """A branch that takes what is published; `reloads` counts how often dictionary and rules were put in force."""

    def __init__(self, publisher: str) -> None:
        self.reloads = 0
        self.fail = False
        self.hub_key = ""
        config = Config.model_validate({"uplink": {"publisher_key": publisher}})
        self.published = Published(
            config,
            reload=self.reload,
            about=lambda: {"rules": "r"},
            waiting=lambda: 0,
            hub_key=lambda: self.hub_key,
        )
        self.published.start()

    def reload(self) -> None:
        if self.fail:
            raise DictionaryError("it does not fit")
        self.reloads += 1

    def offer(self, manifest: Manifest, signer: Signer, content: bytes) -> str | None:
        """Offer and hand over; the error that is reported, empty if it is in force, None if it was not wanted."""
        raw = manifest.to_bytes()
        wanted = self.published.wants(raw, signer.sign(raw))
        if wanted is None:
            return None
        self.published.changed.clear()
        self.published.take(wanted, content)
        until(self.published.changed.is_set)
        (error,) = [row[4] for row in self.published.report().installed if row[2] == manifest.serial]
        return error


@pytest.fixture
def branch(signer: Signer) -> Iterator[Branch]:
    branch = Branch(signer.public)
    yield branch
    branch.published.stop()


def test_rules_are_in_force_wholly_or_not_at_all(branch: Branch, signer: Signer, state: Path) -> None:
    content = GOOD.encode()
    assert branch.offer(publication(content, 5), signer, content) == ""
    file = state / "published" / "site.yaml"
    assert file.read_bytes() == content
    bad = b"rules: [{id: nothing}]"
    assert "site.yaml" in str(branch.offer(publication(bad, 6), signer, bad))
    branch.fail = True
    other = GOOD.replace("招标", "复购").encode()
    assert "does not fit" in str(branch.offer(publication(other, 7), signer, other))
    assert file.read_bytes() == content
    assert branch.reloads == 1
    branch.fail = False
    assert "not what was signed" in str(branch.offer(publication(other, 8), signer, content))
    # What was published once is not taken again, by whom ever it is sent.
    assert branch.offer(publication(content, 5), signer, content) is None
    assert [path.name for path in file.parent.iterdir() if path.suffix != ".json"] == ["site.yaml"]


def test_nothing_is_taken_from_anybody_else(signer: Signer, branch: Branch, tmp_path: Path) -> None:
    content = GOOD.encode()
    manifest = publication(content, 5)
    assert branch.offer(manifest, Signer.new(tmp_path / "other.key"), content) is None
    assert branch.published.report().installed == ()
    assert branch.offer(publication(content, 6, branches=("other",)), signer, content) is None
    closed = Branch("")
    assert closed.offer(manifest, signer, content) is None
    assert "publisher_key" in closed.published.report().installed[0][4]
    closed.published.stop()


def test_a_pack_becomes_a_version_and_an_older_one_must_be_forced(branch: Branch, signer: Signer) -> None:
    shipped = Pack.load(Path(__file__).parent.parent / "dictionaries" / "pharma")

    def offer(version: str, serial: int, *, force: bool = False) -> str | None:
        fields = shipped.fields | {"version": version}
        pack = Pack(**fields, terms=shipped.terms[:20], decoys=())
        manifest = publication(pack.content, serial, kind=PACK, name="pharma", version=version, force=force)
        return branch.offer(manifest, signer, pack.content)

    from edge_agent.packs import Packs

    packs = Packs(Config().dictionary)
    assert offer("9000.1", 5) == ""
    assert (packs.load("pharma").version, len(packs.load("pharma").terms)) == ("9000.1", 20)
    assert packs.history("pharma")[0].who == "head office"
    assert "older than 9000.1" in str(offer("9000.0", 6))
    assert packs.load("pharma").version == "9000.1"
    assert offer("9000.0", 7, force=True) == ""
    assert packs.load("pharma").version == "9000.0"
    garbage = b"no pack"
    manifest = publication(garbage, 8, kind=PACK, name="pharma", version="9000.2")
    assert "can't be read" in str(branch.offer(manifest, signer, garbage))
    assert branch.reloads == 2


def test_what_was_taken_is_remembered_over_a_restart(branch: Branch, signer: Signer, state: Path) -> None:
    content = GOOD.encode()
    branch.offer(publication(content, 5), signer, content)
    again = Branch(signer.public)
    assert again.published.report().installed == branch.published.report().installed
    again.published.stop()
    (state / "published" / "installed.json").write_text("{")
    assert Branch(signer.public).published.report().installed == ()


def test_the_hubs_next_key_is_known_beside_the_one_in_use(branch: Branch, signer: Signer) -> None:
    one, two, three = (letter * 40 for letter in "abc")

    def offer(key: str, serial: int) -> str | None:
        return branch.offer(publication(key.encode(), serial, kind=HUB_KEY, name="hub"), signer, key.encode())

    assert branch.published.hub_keys() == ()
    branch.hub_key = one
    assert offer(two, 5) == ""
    assert branch.published.hub_keys() == (one, two)
    assert "is none" in str(offer("#" + one[1:], 6))
    branch.hub_key = two
    assert offer(three, 7) == ""
    assert branch.published.hub_keys() == (two, three)
    again, closed = Branch(signer.public), Branch("")
    assert again.published.hub_keys() == (two, three)
    assert closed.published.hub_keys() == ()
    again.published.stop()
    closed.published.stop()


# ---- both, over the wire


def test_from_one_command_to_every_branch_and_back(cli: Cli, tmp_path: Path, state: Path) -> None:
    cli.state.mkdir()
    folder = tmp_path / "head"
    folder.mkdir()
    head = Head(folder)
    head.start()
    settings = cli.state / "hub.toml"
    settings.write_text(f'[hub]\ndatabase = "{head.database}"\n')
    (key,) = cli.lines("hub", "publisher-key", "-c", settings, "--json")
    rules = tmp_path / "site.yaml"
    rules.write_text(GOOD + "# " + "x" * 2_000_000 + "\n")  # more than one piece
    given = head.branch("b1", publisher_key=key["public"])
    config = Config.model_validate({"uplink": given.model_dump()})
    applied = threading.Event()
    with Keeper(tmp_path / "branch.db") as keeper:
        published = Published(config, reload=applied.set, about=lambda: {"rules": "r9"}, waiting=lambda: 3)
        published.start()
        line = Uplink(keeper, given, about=lambda: {"rules": "r9"}, receiver=published)
        line.start()
        until(lambda: line.status().connected)
        (done,) = cli.lines("hub", "publish", rules, "-c", settings, "--json")
        assert (done["type"], done["kind"], done["name"]) == ("hub.publication", "rules", "site")
        until(applied.is_set)
        assert (state / "published" / "site.yaml").read_bytes() == rules.read_bytes()

        def acknowledged() -> bool:
            with Ledger.open(head.database, readonly=True) as ledger:
                return [row.took for row in Publications(ledger.base).published()] == [("b1",)]

        until(acknowledged)
        (row,) = cli.lines("hub", "branches", "-c", settings, "--json")
        assert (row["waiting"], row["about"], row["published"][0]["sha256"]) == (3, {"rules": "r9"}, done["sha256"])
        assert "site" in cli.run("hub", "publications", "-c", settings).stdout
        line.stop()
        published.stop()
    head.stop()
    assert "no branch 'b9'" in cli.run("hub", "publish", rules, "--branch", "b9", "-c", settings, code=2).stderr
    rules.write_text("rules: 1")
    cli.run("hub", "publish", rules, "-c", settings, code=DictionaryError.exit_code)
