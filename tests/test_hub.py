"""Head office's end of the wire: nothing twice, nothing skipped, nobody uninvited, and nothing that ends it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zmq
from zmq.utils.monitor import parse_monitor_message

from edge_agent import keys, sqlite, wire
from edge_agent.config import Hub, Uplink
from edge_agent.errors import ConfigError, KeyFileError, StoreError, UplinkError
from edge_agent.hub import Ledger, serve
from edge_agent.store import Keeper

from .line import Head, event, hello, lines, running, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from .conftest import Cli


class Client:
    """A branch that says what the test wants, with a real key."""

    def __init__(self, head: Head, name: str) -> None:
        settings = head.branch(name)
        pair = keys.load(Path(settings.key_file))
        self.key = pair.public
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.curve_serverkey = head.pair.public.encode()
        self.socket.curve_publickey, self.socket.curve_secretkey = pair.public.encode(), pair.secret.encode()
        self._monitor = self.socket.get_monitor_socket()
        self._happened: set[int] = set()
        self.socket.connect(head.bind)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.disable_monitor()
        self._monitor.close()
        self.socket.close()
        self.context.term()

    def is_connected(self) -> bool:
        while self._monitor.poll(0):
            self._happened.add(int(parse_monitor_message(self._monitor.recv_multipart())["event"]))
        return zmq.EVENT_HANDSHAKE_SUCCEEDED in self._happened

    def is_cut(self) -> bool:
        return self.is_connected() and zmq.EVENT_DISCONNECTED in self._happened

    def ask(self, *frames: bytes) -> wire.Message:
        """Send a message and return the answer; the hub says PONG by itself, too, once it was greeted."""
        self.socket.send_multipart(frames)
        while True:
            assert self.socket.poll(20_000), "no answer"
            answer = wire.decode(self.socket.recv(), limit=wire.MAX_REPLY)
            if answer != wire.Pong() or frames == (wire.encode(wire.Ping()),):
                return answer

    def refused(self, *frames: bytes) -> str:
        answer = self.ask(*frames)
        assert isinstance(answer, wire.Refused)
        return answer.code


def test_the_protocol_from_hello_to_ack(head: Head) -> None:
    sent = lines(3)
    with Client(head, "b1") as client:
        welcome = client.ask(wire.encode(hello()))
        assert isinstance(welcome, wire.Welcome)
        assert (welcome.through, welcome.credit) == (0, head.settings.credit)
        assert welcome.max_frame_bytes == head.settings.max_frame_bytes
        assert client.ask(wire.encode(wire.Events.of("e1", 1, sent))) == wire.Ack(3, (), welcome.credit)
        assert [row.body.encode() for row in head.events()] == sent  # acknowledged, so it is in the file
        assert client.ask(wire.encode(wire.Ping())) == wire.Pong()
    (row, *_) = head.events()
    assert (row.key, row.branch) == (client.key, "b1")  # who sent it is known by the key, not by what was said


def test_every_refusal_has_its_code_and_the_line_goes_on(head: Head) -> None:
    too_long = b"x" * (head.settings.max_frame_bytes + 1)
    unknown = wire.Hello("e1", 0, 0, ("urn:edge-agent:event:99",), 0)
    damaged = wire.encode(replace(wire.Events.of("e1", 1, lines(1)), body=b"?"))
    with Client(head, "b1") as client:
        assert client.refused(b"\xc1") == wire.Code.MALFORMED
        assert client.refused(b"") == wire.Code.MALFORMED
        assert client.refused(wire.encode(wire.Ping()), b"more") == wire.Code.MALFORMED
        assert client.refused(wire.encode(wire.Pong())) == wire.Code.MALFORMED
        assert client.refused(b"\x93\x02\xa5HELLO\x80") == wire.Code.VERSION
        assert client.refused(too_long) == wire.Code.TOO_LARGE
        assert client.refused(damaged) == wire.Code.HASH
        assert client.refused(wire.encode(wire.Events.of("e1", 2, lines(1)))) == wire.Code.GAP
        assert client.refused(wire.encode(unknown)) == wire.Code.SCHEMA
        assert isinstance(client.ask(wire.encode(hello())), wire.Welcome)


def test_one_branch_can_not_speak_for_another(head: Head) -> None:
    with Client(head, "b1") as one, Client(head, "b2") as two:
        one.ask(wire.encode(wire.Events.of("e1", 1, lines(3))))
        welcome = two.ask(wire.encode(hello("e1")))  # even with the other's epoch
        assert isinstance(welcome, wire.Welcome)
        assert welcome.through == 0


def test_revoking_cuts_a_connection_that_lives(head: Head) -> None:
    with Client(head, "b1") as client, Client(head, "b2") as other, Client(head, "mute") as mute:
        client.ask(wire.encode(wire.Events.of("e1", 1, lines(1))))
        other.ask(wire.encode(hello()))
        until(mute.is_connected)
        assert other.is_connected()
        keys.revoke(head.allow_file, "b1")
        keys.revoke(head.allow_file, "mute")
        until(client.is_cut)
        until(mute.is_cut)  # though it never said anything by which it could be known
        client.socket.send(wire.encode(wire.Events.of("e1", 2, lines(1))))
        assert other.ask(wire.encode(wire.Events.of("e1", 1, lines(1)))) == wire.Ack(1, (), head.settings.credit)
        assert not other.is_cut()
    assert [row.branch for row in head.events()] == ["b1", "b2"]


def test_a_half_written_list_keeps_the_old_one_and_says_so(head: Head, caplog: pytest.LogCaptureFixture) -> None:
    with Client(head, "b1") as client:
        assert client.ask(wire.encode(wire.Ping())) == wire.Pong()
        whole = head.allow_file.read_text()
        head.allow_file.write_text(whole[:-3])
        until(lambda: "half-written" in caplog.text)
        assert client.ask(wire.encode(wire.Ping())) == wire.Pong()
        head.allow_file.unlink()
        until(lambda: "no allow-list" in caplog.text)
        assert client.ask(wire.encode(wire.Ping())) == wire.Pong()
        assert not client.is_cut()
        head.allow_file.write_text("# nobody\n")
        until(client.is_cut)


def numbers(head: Head) -> list[int]:
    return [json.loads(row.body)["data"]["number"] for row in head.events()]


def test_garbage_at_the_port_while_a_branch_is_served(head: Head, keeper: Keeper) -> None:
    host, port = head.bind.removeprefix("tcp://").split(":")
    greeting = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01CURVE" + bytes(15) + bytes(32)
    with running(keeper, head.branch("b1")) as uplink, Client(head, "b2") as fool:
        for number in range(60):
            with socket.create_connection((host, int(port))) as line:
                line.sendall((greeting if number % 3 else b"GET / HTTP/1.0\r\n\r\n") + os.urandom(200))
            for _ in range(20):
                fool.socket.send_multipart([os.urandom(50)] * (1 + number % 3))
            keeper.keep(events=[event(number)]).result()
        assert uplink.drain(20)
    assert numbers(head) == list(range(60))


def test_a_hub_restored_from_an_older_copy_gets_everything_again(head: Head, keeper: Keeper, tmp_path: Path) -> None:
    def restored(copy: Path) -> None:
        head.stop()
        for path in head.folder.glob("hub.db*"):
            path.unlink()
        shutil.copy(copy, head.database)
        head.start()

    with running(keeper, head.branch("b1")) as uplink:
        keeper.keep(events=[event(number) for number in range(700)]).result()
        assert uplink.drain(20)
        head.stop()
        shutil.copy(head.database, tmp_path / "older.db")
        head.start()
        keeper.keep(events=[event(number) for number in range(700, 1500)]).result()
        assert uplink.drain(20)
        restored(tmp_path / "older.db")
        until(lambda: len(head.events()) == 1500)  # though nothing new was written at the branch
        assert uplink.drain(20)
        restored(tmp_path / "older.db")
        keeper.keep(events=[event(number) for number in range(1500, 1600)]).result()
        until(lambda: len(head.events()) == 1600)
        assert uplink.drain(20)
    assert numbers(head) == list(range(1600))
    assert [row.sequence for row in head.events()] == list(range(1, 1601))


def test_two_branches_keep_apart_and_in_order(head: Head, tmp_path: Path) -> None:
    with (
        Keeper(tmp_path / "one.db") as one,
        Keeper(tmp_path / "two.db") as two,
        running(one, head.branch("one", batch=7)) as first,
        running(two, head.branch("two", batch=11)) as second,
    ):
        for number in range(100):
            for keeper in (one, two):
                keeper.keep(events=[event(number), event(number + 1000)])
        one.keep().result()
        two.keep().result()
        assert first.drain(20)
        assert second.drain(20)
    expected = [number for start in range(100) for number in (start, start + 1000)]
    with Ledger.open(head.database, readonly=True) as ledger:
        for name in ("one", "two"):
            got = list(ledger.events(branch=name))
            assert [row.sequence for row in got] == list(range(1, 201))
            assert [json.loads(row.body)["data"]["number"] for row in got] == expected
        assert [(branch.name, branch.events, branch.through) for branch in ledger.branches()] == [
            ("one", 200, 200),
            ("two", 200, 200),
        ]


def test_an_event_too_long_for_the_hub_does_not_hold_up_the_others(tmp_path: Path, keeper: Keeper) -> None:
    head = Head(tmp_path, max_frame_bytes=65_536)
    head.start()
    long = event(2)
    long.data["note"] = "长" * 30_000
    try:
        with running(keeper, head.branch("b1")) as uplink:
            keeper.keep(events=[event(1), long, event(3)]).result()
            assert uplink.drain(20)
    finally:
        head.stop()
    assert numbers(head) == [1, 3]
    with Ledger.open(head.database, readonly=True) as ledger:
        (letter,) = ledger.dead_letters()
    assert json.loads(letter.body) == {"id": long.id, "withheld_bytes": len(wire.to_line(long.to_json()))}
    assert keeper.counts().rejected == 1


def test_a_database_that_refuses_loses_nothing(
    head: Head, keeper: Keeper, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone else holds the write lock for longer than the hub waits."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.2)
    head.stop()
    head.start()
    with running(keeper, head.branch("b1")) as uplink, Ledger.open(head.database) as holder:
        keeper.keep(events=[event(0)]).result()
        assert uplink.drain(20)
        with holder.transaction():
            keeper.keep(events=[event(1)]).result()
            until(lambda: "nothing is taken in" in caplog.text)
            assert keeper.counts().waiting == 1
        assert uplink.drain(20)
    assert numbers(head) == [0, 1]


def test_what_can_not_be_committed_is_not_acknowledged(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Ledger.transaction

    @contextmanager
    def full(ledger: Ledger) -> Iterator[object]:
        with real(ledger) as connection:
            yield connection
            raise StoreError("the disk is full", remedy="free some space")

    batch = wire.encode(wire.Events.of("e1", 1, lines(2)))
    with Client(head, "b1") as client:
        monkeypatch.setattr(Ledger, "transaction", full)
        assert client.refused(batch) == wire.Code.STORAGE
        monkeypatch.undo()
        assert head.events() == []
        assert client.ask(batch) == wire.Ack(2, (), head.settings.credit)


def test_plain_text_is_for_loopback_only() -> None:
    with pytest.raises(ConfigError, match="loopback"):
        serve(Hub(bind="tcp://0.0.0.0:7420", insecure=True))


def test_a_taken_address_is_said(head: Head) -> None:
    with pytest.raises(UplinkError, match="in use"):
        serve(head.settings.model_copy(update={"database": str(head.folder / "other.db")}))


# ---- the commands


def start(
    cli: Cli, started: Callable[..., subprocess.Popen[str]], *arguments: str
) -> tuple[subprocess.Popen[str], str]:
    cli.state.mkdir(exist_ok=True)
    settings = cli.state / "hub.toml"
    settings.write_text('[hub]\nbind = "tcp://127.0.0.1:*"\n')
    process = started("hub", *arguments, "--json", "-c", settings)
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    assert said["type"] == "hub.ready"
    return process, said["endpoint"]


def test_commands(cli: Cli, started: Callable[..., subprocess.Popen[str]], keeper: Keeper) -> None:
    hub = cli.lines("keys", "new", "--for", "hub", "--json")[0]["public"]
    branch = cli.lines("keys", "new", "--json")[0]["public"]
    cli.run("hub", "allow", branch, "b1")
    assert [row["name"] for row in cli.lines("hub", "list", "--json")] == ["b1"]
    process, endpoint = start(cli, started)  # bare `hub` runs it
    given = {"hub": endpoint, "hub_key": hub, "key_file": str(cli.state / "branch.key")}
    sent = [event(number) for number in range(3)]
    keeper.keep(events=sent).result()
    with running(keeper, Uplink.model_validate(given)) as uplink:
        assert uplink.drain(20)
    (row, total) = cli.lines("hub", "status", "--json")
    assert (total["type"], total["database"], total["events"]) == ("hub.status", "sqlite", 3)
    assert total["delivery"]["configured"] is False
    assert (row["type"], row["name"], row["key"], row["events"], row["through"]) == ("hub.branch", "b1", branch, 3, 3)
    assert [row["event"] for row in cli.lines("hub", "events", "--json")] == [one.to_dict() for one in sent]
    (row,) = cli.lines("hub", "events", "--json", "--after", "1", "--limit", "1", "--branch", "b1")
    assert (row["type"], row["sequence"], row["branch"]) == ("hub.event", 2, "b1")
    assert "edge.node.raised" in cli.run("hub", "events").stdout
    assert "b1" in cli.run("hub", "branches").stdout
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert "b1 is not allowed" in cli.run("hub", "revoke", branch).stdout
    assert cli.lines("hub", "list", "--json") == []


def test_a_hub_without_a_key_says_how_to_make_one(cli: Cli) -> None:
    assert "keys new" in cli.run("hub", "run", code=KeyFileError.exit_code).stderr
    assert "no such database" in cli.run("hub", "status", code=StoreError.exit_code).stderr
    cli.run("hub", "--json", "list", code=2)
