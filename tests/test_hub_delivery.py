"""From the hub into the CRM: signed, once by its key, in each customer's order, whatever the CRM answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import tomllib
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent import wire
from edge_agent.config import Config, Delivery
from edge_agent.errors import ConfigError, KeyFileError
from edge_agent.event import Event, new_id
from edge_agent.hub import Ledger
from edge_agent.hub.courier import Courier
from edge_agent.hub.deliveries import Deliveries
from edge_agent.hub.mapping import Mapping
from edge_agent.hub.webhook import Verdict, judge, new_secret, secret_key, sign

from .conftest import TOP
from .crm import Crm
from .line import NOW_MS, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = new_secret()
QUICK = {"retry_min_s": 0.05, "retry_max_s": 0.2}


@pytest.fixture
def crm() -> Iterator[Crm]:
    crm = Crm()
    yield crm
    crm.close()


def happening(number: int, customer: str | None, *, kind: str = "edge.node.raised", call: str = "") -> Event:
    at = datetime(2026, 1, 5, 9, 12, tzinfo=UTC) + timedelta(seconds=number)
    data = {"node": "objection.price", "quote": "太贵了", "number": number, "customer_id": customer}
    return Event(new_id(), "/sites/test", kind, at, call or f"call-{customer}", data)


class Hub:
    """A hub's database into which a test files events, and its courier."""

    def __init__(self, where: Path | str, folder: Path, crm: Crm) -> None:
        self.where = str(where)
        self.secret = folder / "webhook.secret"
        self.secret.write_text(SECRET + "\n")
        self.secret.chmod(0o600)
        self.url = crm.url
        self.sequence = 1
        self.ledger = Ledger.open(where)
        self.queue = Deliveries(self.ledger.base)

    def file(self, *events: Event, now_ms: int = NOW_MS) -> None:
        batch = wire.Events.of("e1", self.sequence, [wire.to_line(event.to_json()) for event in events])
        self.sequence += len(events)
        with self.ledger.transaction():
            self.ledger.take("k1", "b1", batch, now_ms)

    def courier(self, **settings: Any) -> Courier:
        given = {"url": self.url, "secret_file": str(self.secret), **QUICK, **settings}
        return Courier(self.where, Delivery.model_validate(given))

    @contextmanager
    def delivering(self, **settings: Any) -> Iterator[None]:
        courier = self.courier(**settings)
        courier.start()
        try:
            yield
        finally:
            courier.stop()

    def nothing_waits(self) -> bool:
        return self.queue.waiting()[0] == 0


@pytest.fixture
def hub(where: Path | str, tmp_path: Path, crm: Crm) -> Iterator[Hub]:
    hub = Hub(where, tmp_path, crm)
    with hub.ledger:
        yield hub


@pytest.fixture
def lite(tmp_path: Path, crm: Crm) -> Iterator[Hub]:
    hub = Hub(tmp_path / "hub.db", tmp_path, crm)
    with hub.ledger:
        yield hub


def numbers(crm: Crm, customer: str | None = None) -> list[int]:
    return [
        one["data"]["number"]
        for one in crm.taken
        if customer is None or one["partitionkey"] in (customer, f"call-{customer}")
    ]


def test_what_was_filed_arrives_once_in_each_customers_order(hub: Hub, crm: Crm) -> None:
    sent = [happening(number, f"c{number % 3}") for number in range(30)]
    hub.file(*sent[:20])
    with hub.delivering():
        hub.file(*sent[20:])
        until(lambda: len(crm.taken) == 30)
        until(hub.nothing_waits)
    for customer in range(3):
        assert numbers(crm, f"c{customer}") == list(range(customer, 30, 3))
    with hub.delivering():  # a courier that starts again begins where the last one ended
        hub.file(happening(30, "c0"))
        until(lambda: len(crm.requests) == 31)
    assert hub.queue.delivered() == 31


def test_a_request_is_a_signed_cloudevent(lite: Hub, crm: Crm) -> None:
    given = happening(1, "c1")
    lite.file(given)
    with lite.delivering():
        until(lambda: crm.requests)
    (request,) = crm.requests
    assert request.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert request.event == {
        **given.to_dict(), "partitionkey": "c1", "sequence": "0000000000000001", "branch": "b1",
    }  # fmt: skip
    assert request.headers["idempotency-key"] == request.headers["webhook-id"] == given.id
    # Worked out by hand, as a CRM would: Standard Webhooks.
    signed = f"{given.id}.{request.headers['webhook-timestamp']}.".encode() + request.body
    digest = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    """https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md."""
    key = secret_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    found = sign([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_binary_mode_and_mapping_reach_a_crms_own_names(lite: Hub, crm: Crm, tmp_path: Path) -> None:
    mapping = tmp_path / "crm.toml"
    mapping.write_text(
        '[fields]\nAccountId = "customer"\n"Note.Text" = "data.quote"\n"Note.Kind" = "data.node"\n'
        'Missing = "data.none"\n'
        '[constants]\nChannel = "telephone"\n[values."data.node"]\n"objection.price" = "价格"\n'
    )
    secret = tmp_path / "token"
    secret.write_text("Bearer abc\n")
    secret.chmod(0o600)
    lite.file(happening(1, "c1"))
    with lite.delivering(mapping=str(mapping), content="binary", authorization_file=str(secret)):
        until(lambda: crm.requests)
    (request,) = crm.requests
    assert request.event == {
        "AccountId": "c1", "Note": {"Text": "太贵了", "Kind": "价格"}, "Missing": None, "Channel": "telephone",
    }  # fmt: skip
    assert request.headers["ce-type"] == "edge.node.raised"
    assert request.headers["ce-specversion"] == "1.0"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer abc"


def test_events_that_name_no_customer_keep_their_place_in_the_customers_order(lite: Hub, crm: Crm) -> None:
    lite.file(
        happening(0, "c1", kind="edge.call.started", call="call-9"),
        happening(1, None, kind="edge.audio.gap", call="call-9"),
        happening(2, "c1", call="call-10"),
    )
    with lite.delivering():
        until(lambda: len(crm.taken) == 3)
    assert [one["partitionkey"] for one in crm.taken] == ["c1"] * 3
    assert numbers(crm) == [0, 1, 2]


def test_only_the_types_that_are_wanted(lite: Hub, crm: Crm) -> None:
    lite.file(
        happening(0, "c1", kind="edge.call.started"), happening(1, "c1"), happening(2, "c1", kind="edge.node.closed")
    )
    with lite.delivering(types=("edge.node.*",)):
        until(lambda: len(crm.taken) == 2)
    assert numbers(crm) == [1, 2]


def test_500_holds_up_its_customer_and_no_other_and_is_tried_again(hub: Hub, crm: Crm) -> None:
    bad = 3
    crm.answer = lambda request: 500 if request.event["data"]["number"] == 0 and bad_left() else 204
    left = [bad]

    def bad_left() -> bool:
        left[0] -= 1
        return left[0] >= 0

    hub.file(happening(0, "c1"), happening(1, "c1"), happening(2, "c2"))
    with hub.delivering():
        until(hub.nothing_waits)
    assert numbers(crm, "c1") == [0, 1]
    assert [request.said for request in crm.requests].count(500) == bad
    ids = {request.headers["idempotency-key"] for request in crm.requests if request.event["data"]["number"] == 0}
    assert len(ids) == 1
    assert hub.queue.undelivered() == []


def test_an_event_that_breaks_the_crm_while_others_pass_is_put_aside(lite: Hub, crm: Crm) -> None:
    crm.answer = lambda request: 500 if request.event["data"]["number"] == 0 else 204
    lite.file(happening(0, "c1"), happening(1, "c1"))
    with lite.delivering(tries=2):
        others = iter(range(100, 10_000))

        def aside() -> bool:
            lite.file(happening(next(others), "c2"))
            return bool(lite.queue.undelivered())

        until(aside)
        until(lambda: 1 in numbers(crm))
    (letter,) = lite.queue.undelivered()
    assert (letter.number, letter.branch, letter.lane) == (1, "b1", "c1")
    assert "HTTP 500" in letter.reason


def test_an_outage_puts_nothing_aside(lite: Hub, crm: Crm) -> None:
    crm.answer = lambda request: 500
    lite.file(happening(0, "c1"), happening(1, "c2"))
    with lite.delivering(tries=1):
        until(lambda: len(crm.requests) > 8)
        assert lite.queue.undelivered() == []
        crm.answer = lambda request: 204
        until(lite.nothing_waits)
    assert sorted(numbers(crm)) == [0, 1]


def test_400_goes_to_the_dead_letters_at_once_and_can_be_sent_again(hub: Hub, crm: Crm) -> None:
    crm.answer = lambda request: 400 if request.event["data"]["number"] == 0 else 204
    hub.file(happening(0, "c1"), happening(1, "c1"))
    with hub.delivering():
        until(lambda: numbers(crm) == [1])
        until(hub.nothing_waits)
        (letter,) = hub.queue.undelivered()
        assert (letter.tries, letter.type) == (1, "edge.node.raised")
        assert letter.reason == 'HTTP 400: {"message": "as you see"}'
        crm.answer = lambda request: 204
        assert hub.queue.requeue([letter.number]) == 1
        assert hub.queue.requeue([letter.number]) == 0
        until(lambda: numbers(crm) == [1, 0])
    assert hub.queue.undelivered() == []


def test_a_crm_that_refuses_everything_is_not_the_events_fault(lite: Hub, crm: Crm) -> None:
    """A wrong mapping must not put a day's events aside."""
    crm.answer = lambda request: 422
    lite.file(*(happening(number, f"c{number}") for number in range(60)))
    with lite.delivering():
        until(lambda: len(crm.requests) > 25)
        assert len(lite.queue.undelivered()) == 20
        until(lambda: lite.queue.trouble()[0].startswith("HTTP 422"))
        crm.answer = lambda request: 204
        until(lite.nothing_waits)
    assert len(crm.taken) == 40
    assert lite.queue.trouble() == ("", "")


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_kept_to_by_all(lite: Hub, crm: Crm, status: int) -> None:
    waits = [(status, {"retry-after": "1"})]
    crm.answer = lambda request: waits.pop() if waits else 204
    lite.file(*(happening(number, f"c{number}") for number in range(4)))
    with lite.delivering(customers_at_once=1):
        until(lambda: len(crm.requests) == 1)
        until(lambda: lite.queue.trouble()[0])
        until(lite.nothing_waits)
    stamps = [int(request.headers["webhook-timestamp"]) for request in crm.requests]
    assert stamps[1] - stamps[0] >= 1
    assert len(crm.taken) == 4


@pytest.mark.parametrize("bad", ["hang", "cut", "drip"])
def test_what_is_not_answered_whole_and_in_time_is_sent_again(lite: Hub, crm: Crm, bad: str) -> None:
    does: list[str] = [bad]
    crm.answer = lambda request: does.pop() if does else 204
    lite.file(happening(0, "c1"), happening(1, "c1"))
    with lite.delivering(timeout_s=0.5):
        until(lite.nothing_waits)
    assert [request.said for request in crm.requests] == [bad, 204, 204]
    assert numbers(crm) == [0, 1]
    assert crm.requests[0].headers["idempotency-key"] == crm.requests[1].headers["idempotency-key"]


@pytest.mark.parametrize("status", [301, 401, 404])
def test_wrong_address_or_rights_hold_everything_and_say_so(lite: Hub, crm: Crm, status: int) -> None:
    crm.answer = lambda request: (status, {"location": "http://127.0.0.1:1/"})
    lite.file(happening(0, "c1"), happening(1, "c2"))
    with lite.delivering():
        until(lambda: len(crm.requests) >= 3)
        until(lambda: f"HTTP {status}" in lite.queue.trouble()[0])
        assert "[delivery]" in lite.queue.trouble()[0]
        assert lite.queue.undelivered() == []
        crm.answer = lambda request: 204
        until(lite.nothing_waits)


def test_a_crm_that_is_away_is_waited_for(lite: Hub, tmp_path: Path) -> None:
    gone = Crm()
    gone.close()
    lite.url = gone.url
    lite.file(happening(0, "c1"))
    with lite.delivering():
        until(lambda: "not reached" in lite.queue.trouble()[0])
        assert lite.queue.waiting() == (1, "2026-01-05T08:00:00.000Z")


def test_a_replay_delivers_again_from_a_date_with_the_same_keys(hub: Hub, crm: Crm) -> None:
    day = 86_400_000
    hub.file(happening(0, "c1"), now_ms=NOW_MS)
    hub.file(happening(1, "c1"), happening(2, "c2"), now_ms=NOW_MS + day)
    with hub.delivering():
        until(hub.nothing_waits)
        assert hub.queue.replay("2026-01-06T00:00:00.000Z", "", "", ("edge.*",)) == 2
        until(lambda: len(crm.requests) == 5)
        until(hub.nothing_waits)
        assert hub.queue.replay("2026-01-01T00:00:00.000Z", "2026-01-06T00:00:00.000Z", "b1", ("edge.*",)) == 1
        assert hub.queue.replay("2026-01-01T00:00:00.000Z", "", "other", ("edge.*",)) == 0
        until(lambda: len(crm.requests) == 6)
    by_number: dict[int, set[str]] = {}
    for request in crm.requests:
        by_number.setdefault(request.event["data"]["number"], set()).add(request.headers["idempotency-key"])
    assert {number: len(ids) for number, ids in by_number.items()} == {0: 1, 1: 1, 2: 1}


def test_one_courier_at_a_time(hub: Hub, crm: Crm) -> None:
    """Two hubs on one database: the second takes over when the first ends."""
    first, second = hub.courier(), hub.courier()
    first.start()
    hub.file(happening(0, "c1"))
    until(hub.nothing_waits)
    second.start()
    hub.file(*(happening(number, "c1") for number in range(1, 6)))
    until(hub.nothing_waits)
    first.stop()
    hub.file(happening(6, "c1"))
    until(hub.nothing_waits)
    second.stop()
    assert numbers(crm) == list(range(7))


def test_what_a_retry_after_may_say() -> None:
    now = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
    later = format_datetime(now + timedelta(seconds=90), usegmt=True)
    said = {
        value: judge(429, {"retry-after": value}, "", now).retry_after_s for value in ("7", later, "soon", "99999999")
    }
    assert said == {"7": 7.0, later: 90.0, "soon": None, "99999999": 3600.0}
    assert judge(500, {"retry-after": "3"}, "", now).verdict is Verdict.HOLD
    assert judge(409, {}, "", now).verdict is Verdict.AGAIN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[fields]\na = ", "not valid TOML"),
        ("[other]\na = 1\n", "unknown entry `other`"),
        ("[constants]\na = 1\n", "no fields"),
        ('[fields]\na = "node"\n', "no field `node`"),
        ('[fields]\na.b = "id"\n', "quote names with dots"),
        ('[fields]\na = "id"\n"a.b" = "type"\n', "can't be a field and hold"),
        ('[fields]\na = "id"\n[values."type"]\nx = "y"\n', "does not use"),
    ],
)
def test_a_wrong_mapping_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "crm.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")) as caught:
        Mapping.load(path)
    assert str(path) in caught.value.where


def test_a_secret_that_others_may_read_is_refused(lite: Hub) -> None:
    lite.secret.chmod(0o644)
    with pytest.raises(KeyFileError, match="others"):
        lite.courier()
    lite.secret.chmod(0o600)
    lite.secret.write_text("short")
    with pytest.raises(KeyFileError, match="no secret"):
        lite.courier()
    lite.secret.unlink()
    with pytest.raises(KeyFileError) as caught:
        lite.courier()
    assert "hub secret" in caught.value.remedy


def docs(language: str) -> list[str]:
    text = (TOP / "docs" / "hub.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_what_the_docs_show_is_right(tmp_path: Path) -> None:
    for block in docs("toml"):
        if block.startswith("[fields]"):
            (tmp_path / "crm.toml").write_text(block)
            made = Mapping.load(tmp_path / "crm.toml").apply({"data": {"node": "objection.price"}, "customer": "c1"})
            assert (made["Note"]["Kind"], made["AccountId"]) == ("Price objection", "c1")
        else:
            settings = block.replace("the 44 characters that it prints", "A" * 43 + "=")
            settings = re.sub('"the (present|next) key"', f'"{"k" * 40}"', settings)
            Config.model_validate(tomllib.loads(settings))
    key, body = secret_key(SECRET), b"{}"
    headers = {"webhook-id": "1", "webhook-timestamp": "2", "webhook-signature": sign([b"old" * 8, key], "1", 2, body)}
    names: dict[str, object] = {"headers": headers, "body": body, "secret": SECRET}
    exec(docs("python")[0], names)
    assert names["genuine"]


def test_plain_http_is_for_this_machine_only() -> None:
    with pytest.raises(ValueError, match="https"):
        Delivery(url="http://crm.example/events")
    assert Delivery(url="http://crm.example/events", insecure=True).url
    assert Delivery(url="http://localhost:80/x").url
