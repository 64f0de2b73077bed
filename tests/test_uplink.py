"""The branch's end of the wire over real sockets: every way the line can be, and what is said of it."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import keys, wire
from edge_agent.config import Uplink as Settings
from edge_agent.errors import ConfigError, KeyFileError
from edge_agent.store import Keeper, OutboxRow, State, Store
from edge_agent.uplink import Trouble, Uplink
from edge_agent.uplink.batch import pack

from .line import ANY_PORT, QUICK, Head, alarm, event, running, until


def plain(address: str, **settings: object) -> Settings:
    return Settings.model_validate({"hub": address, "insecure": True, **QUICK, **settings})


def ids(path: Path) -> list[str]:
    with Store.open(path, readonly=True) as store:
        return [row.event.id for row in store.events()]


def test_what_is_committed_arrives_at_once_and_in_order(head: Head, keeper: Keeper, tmp_path: Path) -> None:
    keeper.keep(events=[event(number) for number in range(1200)]).result()
    with running(keeper, head.branch("b1")) as uplink:
        assert uplink.drain(20)
        for number in range(5):  # each wakes the uplink, which has nothing else to wake it
            keeper.keep(events=[event(number)]).result()
            assert uplink.drain(20)
        status = uplink.status()
    assert (status.connected, status.through, status.in_flight, status.last_error) == (True, 1205, 0, "")
    assert status.last_ack is not None
    assert json.loads(json.dumps(status.to_dict()))["hub"] == head.bind
    assert not uplink.status().connected
    received = head.events()
    assert [row.sequence for row in received] == list(range(1, 1206))
    assert [json.loads(row.body)["id"] for row in received] == ids(tmp_path / "branch.db")
    with Store.open(tmp_path / "branch.db", readonly=True) as store:
        assert [row.body for row in received] == [row.body for row in store.events()]
        assert store.counts().acknowledged == 1205


def test_events_wait_for_a_hub_that_is_not_there_yet(head: Head, keeper: Keeper) -> None:
    settings = head.branch("b1")
    head.stop()
    keeper.keep(events=[event(1)]).result()
    with running(keeper, settings) as uplink:
        until(lambda: uplink.status().trouble is Trouble.UNREACHABLE)
        assert "nothing listens" in uplink.status().last_error
        assert not uplink.drain(0.05)
        assert keeper.counts().waiting == 1
        head.start()
        assert uplink.drain(20)
        assert uplink.status().trouble is Trouble.NONE
    assert len(head.events()) == 1


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Settings after a long outage, and no luck: every pause is as long as it may be, and that is for ever."""
    monkeypatch.setattr("edge_agent.uplink.uplink.random.uniform", lambda low, high: high)
    return {"retry_min_s": 60.0, "retry_max_s": 3600.0}


@pytest.mark.parametrize("before", ["nothing", "a balancer", "a black hole"])
def test_a_hub_that_is_back_is_found_in_the_middle_of_a_long_pause(
    before: str, head: Head, keeper: Keeper, patient: dict[str, float]
) -> None:
    """Whatever the address answered meanwhile: nothing, a connection that is closed at once, or not even that."""
    settings = head.branch("b1", **patient)
    head.stop()
    host, port = head.bind.removeprefix("tcp://").split(":")
    keeper.keep(events=[event(1)]).result()
    uplink = Uplink(keeper, settings)
    with ExitStack() as meanwhile, ExitStack() as line:
        line.callback(uplink.stop)
        if before != "nothing":
            stranger = meanwhile.enter_context(socket.create_server((host, int(port)), backlog=0))
        if before == "a black hole":  # its queue is full, and whoever knocks now gets no answer
            meanwhile.enter_context(socket.create_connection((host, int(port)), timeout=20))
        uplink.start()
        if before == "a balancer":
            for _ in range(2):
                stranger.accept()[0].close()
        until(lambda: uplink.status().trouble in (Trouble.UNREACHABLE, Trouble.OTHER_KEY))
        assert not uplink.drain(0.05)
        meanwhile.close()
        head.start()
        assert uplink.drain(30)
    assert len(head.events()) == 1


def test_a_hub_that_answers_and_refuses_is_not_hurried(head: Head, keeper: Keeper, patient: dict[str, float]) -> None:
    settings = head.branch("b1", **patient)
    keys.revoke(head.allow_file, "b1")
    keeper.keep(events=[event(1)]).result()
    with running(keeper, settings) as uplink:
        until(lambda: uplink.status().trouble is Trouble.NOT_ALLOWED)
        keys.allow(head.allow_file, keys.load(Path(settings.key_file)).public, "b1")
        assert not uplink.drain(1.5)  # it keeps to its pause, which is a minute here and ends at once with the program


def test_a_hub_with_another_key_is_told_apart(head: Head, keeper: Keeper, tmp_path: Path) -> None:
    settings = head.branch("b1", hub_key=keys.new(tmp_path / "imposter.key").public)
    keeper.keep(events=[event(1)]).result()
    with running(keeper, settings) as uplink:
        until(lambda: uplink.status().trouble is Trouble.OTHER_KEY)
        assert "hub_key" in uplink.status().remedy
    assert head.events() == []


def test_a_branch_that_is_not_allowed_is_told_what_to_do(head: Head, keeper: Keeper) -> None:
    settings = head.branch("b1")
    public = keys.load(Path(settings.key_file)).public
    keys.revoke(head.allow_file, "b1")
    keeper.keep(events=[event(1)]).result()
    with running(keeper, settings) as uplink:
        until(lambda: uplink.status().trouble is Trouble.NOT_ALLOWED)
        assert public in uplink.status().remedy
        assert keys.fingerprint(public) in uplink.status().last_error
        assert head.events() == []
        keys.allow(head.allow_file, public, "b1")
        assert uplink.drain(20)


def test_an_encrypted_branch_and_a_plain_hub_do_not_meet(tmp_path: Path, keeper: Keeper) -> None:
    head = Head(tmp_path, insecure=True)
    head.start()
    try:
        with running(keeper, head.branch("b1")) as uplink:
            until(lambda: uplink.status().trouble is Trouble.OTHER_PROTOCOL)
        settings = plain(head.bind)
        keeper.keep(events=[event(1)]).result()
        with running(keeper, settings) as uplink:
            assert uplink.drain(20)
    finally:
        head.stop()


def test_a_plain_branch_is_not_let_in(head: Head, keeper: Keeper) -> None:
    keeper.keep(events=[event(1)]).result()
    with running(keeper, plain(head.bind)) as uplink:
        until(lambda: uplink.status().trouble is Trouble.OTHER_KEY)
    assert head.events() == []


def test_a_port_that_accepts_and_says_nothing_is_given_up(keeper: Keeper, head: Head) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        with running(keeper, head.branch("b1", hub=address, dead_after_s=0.3)) as uplink:
            until(lambda: "no answer" in uplink.status().last_error)
            assert uplink.status().trouble is Trouble.UNREACHABLE


class Script:
    """A hub that says what the test wants; plain text."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind(ANY_PORT)
        self.settings = plain(str(self.socket.getsockopt_string(zmq.LAST_ENDPOINT)), dead_after_s=0.5)

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.context.term()

    def hears(self, kind: type[wire.Message]) -> tuple[bytes, wire.Message]:
        """Wait for the next message of a kind; answers PING meanwhile."""
        while True:
            assert self.socket.poll(20_000), f"no {kind.__name__}"
            route, frame = self.socket.recv_multipart()
            message = wire.decode(frame, limit=wire.MAX_REPLY)
            if isinstance(message, kind):
                return route, message
            if isinstance(message, wire.Ping):
                self.says(route, wire.Pong())

    def says(self, route: bytes, message: wire.Message) -> None:
        self.socket.send_multipart([route, wire.encode(message)])

    def welcomes(self, *, through: int = 0, last_id: str = "", credit: int = 100) -> bytes:
        route, _ = self.hears(wire.Hello)
        self.says(route, wire.Welcome(through, last_id, (), credit, wire.MIN_FRAME, 0))
        return route


def test_a_hub_that_falls_silent_is_connected_to_anew(keeper: Keeper) -> None:
    with Script() as script, running(keeper, script.settings) as uplink:
        first = script.welcomes()
        until(lambda: uplink.status().connected)
        until(lambda: uplink.status().trouble is Trouble.SILENT)
        assert script.welcomes() != first
        until(lambda: uplink.status().connected)


def test_no_more_is_under_way_than_the_credit_allows(keeper: Keeper) -> None:
    keeper.keep(events=[event(number) for number in range(30)]).result()
    with Script() as script, running(keeper, script.settings) as uplink:
        route = script.welcomes(credit=10)
        sent = 0
        while sent < 10:
            batch = script.hears(wire.Events)[1]
            assert isinstance(batch, wire.Events)
            sent = batch.last
        assert sent == 10
        until(lambda: uplink.status().in_flight == 10)
        script.hears(wire.Ping)  # it had the time to send more
        script.says(route, wire.Ack(4, (), 10))
        more = script.hears(wire.Events)[1]
        assert isinstance(more, wire.Events)
        assert (more.first, more.last) == (11, 14)
        until(lambda: keeper.acknowledged() == 4)


def test_a_rejected_event_is_marked_with_its_reason(keeper: Keeper, tmp_path: Path) -> None:
    keeper.keep(events=[event(number) for number in range(3)]).result()
    with Script() as script, running(keeper, script.settings) as uplink:
        route = script.welcomes()
        script.hears(wire.Events)
        script.says(route, wire.Ack(3, ((2, "not an event"),), 10))
        assert uplink.drain(20)
    with Store.open(tmp_path / "branch.db", readonly=True) as store:
        assert [(row.state, row.reason) for row in store.events()] == [
            (State.ACKNOWLEDGED, None),
            (State.REJECTED, "not an event"),
            (State.ACKNOWLEDGED, None),
        ]


def test_an_answer_that_was_lost_is_made_up_for_by_the_welcome(keeper: Keeper, tmp_path: Path) -> None:
    keeper.keep(events=[event(number) for number in range(3)]).result()
    third = keeper.pending(2, 1)[0].id
    with Script() as script, running(keeper, script.settings) as uplink:
        route, _ = script.hears(wire.Hello)
        script.says(route, wire.Welcome(3, third, ((1, "no"),), 100, wire.MIN_FRAME, 0))
        assert uplink.drain(20)
        assert uplink.status().through == 3
    with Store.open(tmp_path / "branch.db", readonly=True) as store:
        assert next(store.events()).reason == "no"


@pytest.mark.parametrize(
    ("through", "last_id"), [(2, "another event"), (3, "another event"), (9, "another event"), (3, "")]
)
def test_a_database_put_back_from_an_older_copy_begins_a_new_epoch(keeper: Keeper, through: int, last_id: str) -> None:
    keeper.keep(events=[event(number) for number in range(3)]).result()
    before = keeper.epoch
    with Script() as script, running(keeper, script.settings) as uplink:
        route = script.welcomes(through=through, last_id=last_id)
        _, again = script.hears(wire.Hello)
        assert isinstance(again, wire.Hello)
        assert again.epoch == keeper.epoch != before
        assert (again.acked, again.begins, keeper.counts().waiting) == (0, 0, 3)
        script.says(route, wire.Welcome(0, "", (), 100, wire.MIN_FRAME, 0))
        batch = script.hears(wire.Events)[1]
        assert isinstance(batch, wire.Events)
        assert (batch.epoch, batch.first, batch.last) == (again.epoch, 1, 3)
        script.says(route, wire.Refused("forked", "once more"))
        until(lambda: uplink.status().trouble is Trouble.FORKED)  # at most one new epoch a connection


def test_events_of_a_schema_that_the_hub_does_not_know_are_held(keeper: Keeper) -> None:
    keeper.keep(events=[event(number) for number in range(3)]).result()
    later = keeper.pending(1, 1)[0].body.replace("event:1", "event:2")
    keeper._submit(
        lambda store: store.database.conn.execute("UPDATE events SET body = ? WHERE sequence = 2", [later])
    ).result()
    with Script() as script, running(keeper, script.settings) as uplink:
        route, _ = script.hears(wire.Hello)
        script.says(route, wire.Welcome(0, "", (), 100, wire.MIN_FRAME, 0, ("urn:edge-agent:event:1",)))
        batch = script.hears(wire.Events)[1]
        assert isinstance(batch, wire.Events)
        assert batch.last == 1
        script.says(route, wire.Ack(1, (), 100))
        until(lambda: uplink.status().trouble is Trouble.HELD)
        assert uplink.status().connected
        until(lambda: keeper.counts().waiting == 2)
        first = keeper.at(1)
        assert first is not None
        script.says(
            route,
            wire.Welcome(
                1, batch.prev, (), 100, wire.MIN_FRAME, 0, ("urn:edge-agent:event:1", "urn:edge-agent:event:2")
            ),
        )
        batch = script.hears(wire.Events)[1]
        assert isinstance(batch, wire.Events)
        assert (batch.first, batch.last) == (2, 3)
        until(lambda: uplink.status().trouble is Trouble.NONE)


def test_a_compliance_alarm_does_not_wait_behind_a_backlog(keeper: Keeper) -> None:
    keeper.keep(events=[alarm(number) if number in (900, 950) else event(number) for number in range(1000)]).result()
    with Script() as script, running(keeper, script.settings) as uplink:
        route, _ = script.hears(wire.Hello)
        script.says(route, wire.Welcome(0, "", (), 30, wire.MIN_FRAME, 0, (), (wire.URGENT,)))
        ahead = script.hears(wire.Urgent)[1]
        assert isinstance(ahead, wire.Urgent)
        assert ahead.sequences == (901, 951)
        assert [json.loads(line)["data"]["number"] for line in ahead.lines()] == [900, 950]
        script.says(route, wire.Noted(ahead.sequences))
        until(lambda: uplink.status().urgent == 2)
        assert keeper.counts().waiting == 1000  # a copy went ahead; its turn is still to come
        keeper.keep(events=[alarm(1000)]).result()
        ahead = script.hears(wire.Urgent)[1]
        assert isinstance(ahead, wire.Urgent)
        assert ahead.sequences == (1001,)


def test_pruned_events_are_owned_up_to(keeper: Keeper) -> None:
    """The hub was restored from a copy so old that the branch has not kept what came after."""
    keeper.keep(events=[event(number) for number in range(5)]).result()
    with Script() as script, running(keeper, script.settings) as uplink:
        route = script.welcomes()
        script.hears(wire.Events)
        script.says(route, wire.Ack(3, (), 10))
        until(lambda: uplink.status().through == 3)
        with keeper._reading:
            pass

        assert keeper.prune(datetime.now(UTC) + timedelta(days=1)).result() == 3
        script.says(route, wire.Refused("gap", "restored"))
        route, hello = script.hears(wire.Hello)
        assert isinstance(hello, wire.Hello)
        assert (hello.acked, hello.pruned) == (3, 0)
        script.says(route, wire.Welcome(1, "", (), 10, wire.MIN_FRAME, 0))
        _, again = script.hears(wire.Hello)
        assert isinstance(again, wire.Hello)
        assert again.pruned == 3
        script.says(route, wire.Welcome(3, "", (), 10, wire.MIN_FRAME, 0))
        batch = script.hears(wire.Events)[1]
        assert isinstance(batch, wire.Events)
        assert (batch.first, batch.last) == (4, 5)
        script.says(route, wire.Ack(5, (), 10))
        assert uplink.drain(20)


def test_what_no_branch_understands_is_said(keeper: Keeper) -> None:
    with Script() as script, running(keeper, script.settings) as uplink:
        route, _ = script.hears(wire.Hello)
        script.socket.send_multipart([route, b"\xc1 what?"])
        until(lambda: uplink.status().trouble is Trouble.OTHER_PROTOCOL)


def test_plain_text_is_for_loopback_only(keeper: Keeper) -> None:
    with pytest.raises(ConfigError, match="loopback"):
        Uplink(keeper, Settings(hub="tcp://hub.example:7420", insecure=True))


def test_keys_are_needed_before_anything_is_connected(keeper: Keeper, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hub_key"):
        Uplink(keeper, Settings(hub="tcp://127.0.0.1:1"))
    public = keys.new(tmp_path / "hub.key").public
    with pytest.raises(KeyFileError, match="no such key"):
        Uplink(keeper, Settings(hub="tcp://127.0.0.1:1", hub_key=public, key_file=str(tmp_path / "none.key")))


bodies = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1500), min_size=1, max_size=12)


@given(bodies, st.integers(1, 1000), st.data())
def test_a_batch_is_contiguous_and_fits(texts: list[str], first: int, data: st.DataObject) -> None:
    hole = data.draw(st.integers(1, len(texts)))
    rows = [OutboxRow(first + at + (at >= hole), f"id-{at}", body) for at, body in enumerate(texts)]
    batch = pack("epoch", rows, wire.MIN_FRAME)
    assert len(wire.encode(batch)) <= wire.MIN_FRAME
    assert batch.first == first
    assert 1 <= batch.n <= hole
    for row, line in zip(rows, batch.lines(), strict=False):
        whole = wire.to_line(row.body)
        too_long = len(whole) > wire.MIN_FRAME - wire.OVERHEAD
        assert line == (json.dumps({"id": row.id, "withheld_bytes": len(whole)}).encode() if too_long else whole)
    if batch.n < hole:  # it ended because one more did not fit
        one_more = wire.to_line(rows[batch.n].body)
        assert len(batch.body) + 1 + len(one_more) > wire.MIN_FRAME - wire.OVERHEAD - 2
