"""Keys are changed at either end of a running line, and no event is lost or doubled by it."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from edge_agent import keys
from edge_agent.config import Uplink as Settings
from edge_agent.errors import ConfigError, KeyFileError
from edge_agent.hub import Ledger
from edge_agent.uplink import Trouble, Uplink
from edge_agent.uplink.hubkeys import HubKeys

from .line import Head, event, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_agent.store import Keeper

    from .conftest import Cli


class Talk:
    """Events that are kept one after the other for the length of a block, whatever the line does; `ids` in order."""

    def __init__(self, keeper: Keeper) -> None:
        self.ids: list[str] = []
        self._keeper = keeper
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Keep no more; all that was kept stands in `ids`."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            made = event(len(self.ids))
            self._keeper.keep(events=[made]).result()
            self.ids.append(made.id)
            time.sleep(0.005)

    def goes_on(self) -> None:
        """Wait until some more were kept."""
        seen = len(self.ids)
        until(lambda: len(self.ids) > seen + 5)


@contextmanager
def talking(keeper: Keeper) -> Iterator[Talk]:
    talk = Talk(keeper)
    try:
        yield talk
    finally:
        talk.end()


def arrived(head: Head) -> list[str]:
    rows = head.events()
    assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
    return [json.loads(row.body)["id"] for row in rows]


def test_the_hub_changes_its_key_under_a_running_branch(head: Head, keeper: Keeper) -> None:
    own = head.folder / "hub.key"
    following = keys.new(keys.next_of(own))
    settings = head.branch("b1", hub_key_next=following.public)
    with running(keeper, settings) as uplink:
        with talking(keeper) as talk:
            until(lambda: uplink.status().through)
            assert (uplink.status().hub_key, uplink.status().hub_key_from) == (head.pair.public, "hub_key")
            talk.goes_on()
            head.stop()
            pair, old = keys.switch(own)
            assert (pair, keys.load(old)) == (following, head.pair)
            talk.goes_on()
            head.start()
            until(lambda: uplink.status().hub_key == following.public)
            assert uplink.status().hub_key_from == "hub_key_next"
            talk.goes_on()
            # And back: whoever must undo it may.
            head.stop()
            own.unlink()
            old.rename(own)
            head.start()
            until(lambda: uplink.status().hub_key == head.pair.public)
        assert uplink.drain(20)
        assert uplink.status().last_error == ""
    assert arrived(head) == talk.ids


def test_a_hub_that_comes_back_with_its_next_key_is_found_in_a_long_pause(
    head: Head, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.uplink.uplink.random.uniform", lambda low, high: high)
    following = keys.new(keys.next_of(head.folder / "hub.key"))
    settings = head.branch("b1", hub_key_next=following.public, retry_min_s=60.0, retry_max_s=3600.0)
    head.stop()
    keeper.keep(events=[event(1)]).result()
    with running(keeper, settings) as uplink:
        until(lambda: uplink.status().trouble is Trouble.UNREACHABLE)
        keys.switch(head.folder / "hub.key")
        head.start()
        assert uplink.drain(30)
    assert len(arrived(head)) == 1


def test_a_branch_changes_its_key_and_stays_who_it_is(head: Head, keeper: Keeper) -> None:
    settings = head.branch("b1")
    own = head.folder / "b1.key"
    before = keys.load(own)
    after = keys.new(keys.next_of(own))
    with talking(keeper) as talk:
        with running(keeper, settings) as uplink:
            until(lambda: uplink.status().through)
            talk.goes_on()
            keys.allow(head.allow_file, after.public, "b1")
            keys.switch(own)
        talk.goes_on()
        with running(keeper, settings) as uplink:  # it was started again
            until(lambda: uplink.status().connected)
            assert keys.revoke(head.allow_file, before.public) == {before.public: "b1"}
            talk.goes_on()
            talk.end()
            assert uplink.drain(20)
    assert arrived(head) == talk.ids
    with Ledger.open(head.database, readonly=True) as ledger:
        assert {row.name for row in ledger.branches()} == {"b1"}


def test_every_key_is_tried_and_the_one_that_works_is_kept() -> None:
    published = ["p"]
    given = Settings(hub="tcp://127.0.0.1:1", hub_key="a" * 40, hub_key_next="b" * 40)
    all_of_them = HubKeys(given, lambda: tuple(published))
    assert [all_of_them.now[0], all_of_them.source()] == ["a", "hub_key"]
    tried = ""
    for _ in range(2):  # one round after the other, each with a pause behind it
        while all_of_them.another():
            tried += all_of_them.now[0]
        tried += "|"
    assert tried == "bp|ab|"
    all_of_them.use("p")
    assert (all_of_them.now, all_of_them.source()) == ("p", "published")
    assert all_of_them.another()
    assert all_of_them.now[0] == "a"
    published.append("b" * 40)
    assert len(all_of_them.all) == 3
    assert HubKeys(given.model_copy(update={"insecure": True}), tuple).all == ("",)


def test_a_next_key_that_is_none_is_refused(head: Head, keeper: Keeper) -> None:
    with pytest.raises(ConfigError, match="hub_key_next"):
        Uplink(keeper, head.branch("b1", hub_key_next="é" * 40))


def test_a_switch_without_both_keys_changes_nothing(tmp_path: Path) -> None:
    own = tmp_path / "hub.key"
    with pytest.raises(KeyFileError, match="no such key"):
        keys.switch(own)
    pair = keys.new(own)
    with pytest.raises(KeyFileError, match="no next key"):
        keys.switch(own)
    keys.next_of(own).write_text("x")
    keys.next_of(own).chmod(0o600)
    with pytest.raises(KeyFileError, match="damaged"):
        keys.switch(own)
    assert keys.load(own) == pair


def test_a_switch_that_a_power_cut_ended_is_done_again(tmp_path: Path) -> None:
    own = tmp_path / "hub.key"
    first, second = keys.new(own), keys.new(keys.next_of(own))
    own.with_name(f"hub.key.{first.fingerprint}").hardlink_to(own)  # as far as it had come
    pair, old = keys.switch(own)
    assert (pair, keys.load(own), keys.load(old)) == (second, second, first)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub.key", old.name]


def test_commands(cli: Cli) -> None:
    present = keys.new(cli.state / "hub.key")
    assert "no next key" in cli.run("keys", "switch", "--for", "hub", code=KeyFileError.exit_code).stderr
    (following,) = cli.lines("keys", "new", "--for", "hub", "--next", "--json")
    assert following["file"] == str(cli.state / "hub.key.next")
    (now,) = cli.lines("keys", "switch", "--for", "hub", "--json")
    assert now == {**following, "file": str(cli.state / "hub.key"), "was": now["was"]}
    (old,) = cli.lines("keys", "show", now["was"], "--json")
    assert old["public"] == present.public
