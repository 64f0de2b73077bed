"""Several hubs on one PostgreSQL database: any branch may land on any of them, and every event is there once."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from edge_agent import wire
from edge_agent.errors import StoreError
from edge_agent.hub import Ledger
from edge_agent.store import Keeper

from .line import NOW_MS, Head, event, lines, running, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .postgres import Server


@pytest.fixture
def address(postgres: Server) -> str:
    return postgres.address()


@pytest.fixture
def heads(tmp_path: Path, address: str) -> Iterator[list[Head]]:
    """Two hubs with one key and one allow-list, as two machines behind one address would have them."""
    folder = tmp_path / "head"
    folder.mkdir()
    one = Head(folder, database=address)
    two = Head.__new__(Head)
    two.__dict__ |= {**one.__dict__, "_stop": threading.Event()}
    two.start()
    one.start()
    yield [one, two]
    one.stop()
    two.stop()


def test_a_branch_goes_from_hub_to_hub_and_back(heads: list[Head], tmp_path: Path) -> None:
    settings = heads[0].branch("b1")
    with Keeper(tmp_path / "branch.db") as keeper:
        for turn in range(6):
            keeper.keep(events=[event(10 * turn + number) for number in range(10)]).result()
            with running(keeper, settings.model_copy(update={"hub": heads[turn % 2].bind})) as uplink:
                assert uplink.drain(20)
    assert [json.loads(row.body)["data"]["number"] for row in heads[1].events()] == list(range(60))
    with Ledger.open(heads[0].settings.database, readonly=True) as ledger:
        assert [(one.name, one.through, one.events) for one in ledger.branches()] == [("b1", 60, 60)]


def test_hubs_that_file_the_same_at_once_file_it_once(address: str) -> None:
    """The worst case: the branch's messages lie at three hubs at the same time, in batches that overlap."""
    sent = lines(120)
    Ledger.open(address).close()
    failed: list[BaseException] = []

    def hub(size: int) -> None:
        try:
            with Ledger.open(address) as ledger:
                for first in range(0, len(sent), size):
                    batch = wire.Events.of("e1", first + 1, sent[first : first + size])
                    with ledger.transaction(["k1"]):
                        assert ledger.take("k1", "b1", batch, NOW_MS)[0] >= first + len(batch.lines())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=hub, args=(size,)) for size in (1, 7, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with Ledger.open(address, readonly=True) as ledger:
        assert [row.body.encode() for row in ledger.events()] == sent
        assert [row.sequence for row in ledger.events()] == list(range(1, 121))


def test_hubs_that_hold_several_branches_do_not_wait_for_each_other_in_a_ring(address: str) -> None:
    with Ledger.open(address) as ledger, ledger.transaction():
        for key in ("k1", "k2"):
            ledger.take(key, key, wire.Events.of("e1", 1, lines(1)), NOW_MS)
    failed: list[BaseException] = []
    sent = lines(30)

    def hub(order: tuple[str, ...]) -> None:
        try:
            with Ledger.open(address) as ledger:
                for number in range(2, 30):
                    with ledger.transaction(order):
                        for key in order:
                            ledger.take(key, key, wire.Events.of("e1", 2, sent[:number]), NOW_MS)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=hub, args=(order,)) for order in (("k1", "k2"), ("k2", "k1"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_reader_never_passes_by_what_is_not_committed_yet(address: str) -> None:
    """Numbers are drawn before the commit: a reader that keeps its place by them waits for the lower ones."""
    with Ledger.open(address) as slow, Ledger.open(address) as fast, Ledger.open(address, readonly=True) as reader:
        found: list[int] = []
        reading = threading.Thread(target=lambda: found.extend(row.number for row in reader.events()))
        with slow.transaction():
            slow.take("k1", "b1", wire.Events.of("e1", 1, lines(1)), NOW_MS)
            with fast.transaction():
                fast.take("k2", "b2", wire.Events.of("e1", 1, lines(1)), NOW_MS)
            reading.start()
            reading.join(0.3)
            assert found == []
        reading.join(20)
        assert found == [1, 2]


def test_a_server_that_goes_away_and_comes_back_loses_nothing(heads: list[Head], tmp_path: Path) -> None:
    head = heads[0]
    with (
        Keeper(tmp_path / "branch.db") as keeper,
        running(keeper, head.branch("b1")) as uplink,
        psycopg.connect(head.settings.database, autocommit=True) as other,
    ):
        keeper.keep(events=[event(0)]).result()
        assert uplink.drain(20)
        gone = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'edge-agent hub'"
        other.execute(gone)
        keeper.keep(events=[event(1)]).result()
        assert uplink.drain(20)
        other.execute(gone)
        until(lambda: uplink.status().connected)
        keeper.keep(events=[event(2)]).result()
        assert uplink.drain(20)
    assert [json.loads(row.body)["data"]["number"] for row in head.events()] == [0, 1, 2]


def test_what_a_person_can_mend_is_said_without_the_password(address: str) -> None:
    with pytest.raises(StoreError, match="can't be used") as caught:
        Ledger.open("postgresql://hub:hush@127.0.0.1:1/none")
    assert "hush" not in f"{caught.value}{caught.value.remedy}"
    with pytest.raises(StoreError, match="no tables of the hub"):
        Ledger.open(address, readonly=True)
    Ledger.open(address).close()
    with psycopg.connect(address, autocommit=True) as other:
        other.execute("INSERT INTO hub_steps (step) VALUES ('m999_later')")
        with pytest.raises(StoreError, match="m999_later"):
            Ledger.open(address)
        other.execute("DROP TABLE hub_steps")
        with pytest.raises(StoreError, match="something else"):
            Ledger.open(address)
