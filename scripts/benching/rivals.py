"""mosquitto and nats-server, from Debian's packages, and our own hub: one load, one kill test.

Each gets the same lines from one sender on this machine, which keeps `WINDOW` of them under way and counts one as
arrived once the other end has acknowledged it. In the kill test the server is killed (-9) while it receives, started
again, and the sender sends again whatever was not acknowledged, as each protocol wants it. Then what is there is read.
The clients speak just as much of MQTT 3.1.1 (OASIS) and of the NATS client protocol as that takes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from torturing.ends import HubEnd, preload, wait_for

from edge_agent import keys
from edge_agent.config import Uplink
from edge_agent.event import Event, new_id
from edge_agent.hub import Ledger
from edge_agent.store import Keeper
from edge_agent.uplink import Uplink as Line

if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.connection import Connection
    from pathlib import Path

WINDOW = 1000
PATIENCE_S = 120.0


class Rival(Protocol):
    """A way to bring lines to head office."""

    name: str

    @property
    def arrived(self) -> int:
        """How many were acknowledged."""

    def prepare(self, events: list[Event]) -> None:
        """Do what comes before sending."""

    def start(self) -> None:
        """Start the server."""

    def kill(self) -> None:
        """Kill -9 the server."""

    def send(self, events: list[Event]) -> None:
        """Bring all of them there, through any number of kills; returns once all are acknowledged."""

    def close(self) -> None:
        """End everything."""

    def stored(self) -> Counter[str]:
        """Return how often each id is there."""


def free_port() -> int:
    """Return a port that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class _Server:
    """A server in a process of its own; the sender comes back by itself when it was killed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.port = free_port()
        self.arrived = 0
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(self.command(), stdout=log, stderr=subprocess.STDOUT, cwd=self.folder)
        wait_for("that the server listens", self._listens, PATIENCE_S)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.kill()

    def prepare(self, events: list[Event]) -> None:
        """Nothing: these keep what they send in memory."""

    def dial(self) -> socket.socket:
        """Connect, as long as it takes."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                line = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return line
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)


class Mosquitto(_Server):
    """MQTT at QoS 2 into a persistent session, without its limit of 1,000 queued messages, saved every second."""

    name = "mosquitto, QoS 2, persistent"

    def command(self) -> list[str]:
        settings = self.folder / "settings"
        settings.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {self.folder}/\nautosave_interval 1\nmax_queued_messages 0\n"
            f"max_inflight_messages {WINDOW}\nuser root\n"
        )
        return [shutil.which("mosquitto") or "mosquitto", "-c", str(settings)]

    def start(self) -> None:
        super().start()
        with self._enter("reader") as line:  # from now on its session keeps everything
            line.sendall(b"\x82\x08\x00\x01\x00\x03all\x02")
            _packets(line, bytearray(), until=0x90)

    def _enter(self, who: str) -> socket.socket:
        line = self.dial()
        name = who.encode()
        body = b"\x00\x04MQTT\x04\x00\x00\x00" + len(name).to_bytes(2, "big") + name  # no clean session, no keep-alive
        line.sendall(b"\x10" + _length(len(body)) + body)
        for _ in range(4):  # CONNACK, and not a byte of what may come behind it
            if not line.recv(1):
                raise EOFError
        return line

    def send(self, events: list[Event]) -> None:
        waiting = list(enumerate(event.to_json().encode() for event in events))[::-1]
        under_way: dict[int, tuple[int, bytes, bool]] = {}  # packet id → number, line, whether it was received
        number = 0
        while waiting or under_way:
            with contextlib.suppress(OSError, EOFError), self._enter("sender") as line:
                for packet, (_, body, received) in under_way.items():
                    line.sendall(_release(packet) if received else _publish(packet, body, again=True))
                held = bytearray()
                while waiting or under_way:
                    batch = bytearray()
                    while waiting and len(under_way) < WINDOW:
                        at, body = waiting.pop()
                        number = number % 65_000 + 1
                        while number in under_way:
                            number = number % 65_000 + 1
                        under_way[number] = at, body, False
                        batch += _publish(number, body)
                    line.sendall(batch)
                    answer = bytearray()
                    for kind, content in _packets(line, held):
                        packet = int.from_bytes(content[:2], "big")
                        if kind == 0x50 and packet in under_way:
                            under_way[packet] = (*under_way[packet][:2], True)
                            answer += _release(packet)
                        elif kind == 0x70 and packet in under_way:
                            del under_way[packet]
                            self.arrived += 1
                    line.sendall(answer)

    def stored(self) -> Counter[str]:
        found: Counter[str] = Counter()
        received: set[bytes] = set()
        with self._enter("reader") as line:
            held = bytearray()
            while select.select([line], [], [], 3.0)[0]:
                answer = bytearray()
                for kind, content in _packets(line, held):
                    if kind & 0xF0 == 0x30:
                        packet, body = content[5:7], content[7:]  # behind the topic, which is `all`
                        if packet not in received:
                            found[json.loads(body)["id"]] += 1
                        received.add(packet)
                        answer += b"\x50\x02" + packet
                    elif kind & 0xF0 == 0x60:
                        received.discard(content[:2])
                        answer += b"\x70\x02" + content[:2]
                line.sendall(answer)
        return found


def _length(size: int) -> bytes:
    out = bytearray()
    while True:
        size, low = divmod(size, 128)
        out.append(low | (0x80 if size else 0))
        if not size:
            return bytes(out)


def _publish(packet: int, body: bytes, *, again: bool = False) -> bytes:
    content = b"\x00\x03all" + packet.to_bytes(2, "big") + body
    return bytes([0x3C if again else 0x34]) + _length(len(content)) + content


def _release(packet: int) -> bytes:
    return b"\x62\x02" + packet.to_bytes(2, "big")


def _packets(line: socket.socket, held: bytearray, until: int | None = None) -> list[tuple[int, bytes]]:
    """Return the packets that have come whole, at least one; with `until` wait for one of that kind."""
    found: list[tuple[int, bytes]] = []
    while True:
        at = 0
        while len(held) - at >= 2:
            size, shift, end = 0, 0, at + 1
            while end < len(held):
                size |= (held[end] & 0x7F) << shift
                shift, end = shift + 7, end + 1
                if not held[end - 1] & 0x80:
                    break
            else:
                break
            if len(held) < end + size:
                break
            found.append((held[at], bytes(held[end : end + size])))
            at = end + size
        del held[:at]
        if found and (until is None or any(kind == until for kind, _ in found)):
            return found
        piece = line.recv(1 << 16)
        if not piece:
            raise EOFError
        held += piece


class Nats(_Server):
    """JetStream on files, one copy; ids are given as `Nats-Msg-Id`: what comes twice in two minutes is dropped."""

    name = "nats-server, JetStream"
    always = False

    def command(self) -> list[str]:
        return [shutil.which("nats-server") or "nats-server", "-c", str(self._settings())]

    def _settings(self) -> Path:
        path = self.folder / "settings"
        if not path.exists():
            for line in ("sync_interval: always", ""):  # older releases, Debian's among them, have no such setting
                path.write_text(
                    f"listen: 127.0.0.1:{self.port}\n"
                    f'jetstream {{ store_dir: "{self.folder}/store"\n max_file_store: 2GB\n {line} }}\n'
                )
                program = shutil.which("nats-server") or "nats-server"
                if not subprocess.run([program, "-t", "-c", str(path)], capture_output=True, check=False).returncode:
                    self.always = bool(line)
                    break
        return path

    def start(self) -> None:
        super().start()
        if (self.folder / "store" / "jetstream" / "$G").exists():
            return  # the stream is there again before the server listens
        with self._enter() as line:
            wanted: dict[str, object] = {"name": "all", "subjects": ["all"], "storage": "file", "retention": "limits"}
            _ask(line, "$JS.API.STREAM.CREATE.all", wanted)

    def _enter(self) -> socket.socket:
        line = self.dial()
        line.sendall(b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\nPING\r\n')
        held = bytearray()
        while b"PONG\r\n" not in held:
            piece = line.recv(1 << 16)
            if not piece:
                raise EOFError
            held += piece
        return line

    def send(self, events: list[Event]) -> None:
        waiting = [(event.id, event.to_json().encode()) for event in events][::-1]
        under_way: dict[int, tuple[str, bytes]] = {}
        number = 0
        while waiting or under_way:
            with contextlib.suppress(OSError, EOFError), self._enter() as line:
                line.settimeout(2.0)  # whatever was refused while the stream recovers is answered, but not taken
                line.sendall(b"SUB a.* 1\r\n")
                line.sendall(b"".join(_put(at, *what) for at, what in under_way.items()))
                held, told_at = bytearray(), time.monotonic()
                while waiting or under_way:
                    batch = bytearray()
                    while waiting and len(under_way) < WINDOW:
                        number += 1
                        under_way[number] = waiting.pop()
                        batch += _put(number, *under_way[number])
                    line.sendall(batch)
                    for subject, body in _messages(line, held):
                        # Without a stream yet, or while it recovers, the answer is an error: it is sent again.
                        at = int(subject.rpartition(".")[2])
                        if b'"seq"' in body and at in under_way:
                            del under_way[at]
                            self.arrived += 1
                            told_at = time.monotonic()
                    if time.monotonic() > told_at + 2:
                        raise EOFError

    def stored(self) -> Counter[str]:
        found: Counter[str] = Counter()
        with self._enter() as line:
            count = _ask(line, "$JS.API.STREAM.INFO.all", {})["state"]["messages"]
        with self._enter() as line:
            line.settimeout(5.0)
            wanted = {"stream_name": "all", "config": {"deliver_subject": "all.out", "ack_policy": "none"}}
            said = json.dumps(wanted).encode()
            line.sendall(b"SUB all.out 2\r\nPUB $JS.API.CONSUMER.CREATE.all %d\r\n%b\r\n" % (len(said), said))
            held = bytearray()
            with contextlib.suppress(TimeoutError):
                while sum(found.values()) < count:
                    for subject, body in _messages(line, held):
                        if subject == "all":
                            found[json.loads(body)["id"]] += 1
        return found


def _put(at: int, id_: str, body: bytes) -> bytes:
    head = f"NATS/1.0\r\nNats-Msg-Id: {id_}\r\n\r\n".encode()
    return b"HPUB all a.%d %d %d\r\n%b%b\r\n" % (at, len(head), len(head) + len(body), head, body)


def _ask(line: socket.socket, subject: str, body: dict[str, object]) -> dict[str, dict[str, int]]:
    said = json.dumps(body).encode()
    line.sendall(b"SUB ask.1 9\r\nPUB %b ask.1 %d\r\n%b\r\nUNSUB 9 1\r\n" % (subject.encode(), len(said), said))
    answer: dict[str, dict[str, int]] = json.loads(_messages(line, bytearray())[0][1] or "{}")
    return answer


def _messages(line: socket.socket, held: bytearray) -> list[tuple[str, bytes]]:
    """Return subject and body of the messages that have come whole, at least one; an empty body for what has none."""
    found: list[tuple[str, bytes]] = []
    while True:
        at = 0
        while (end := held.find(b"\r\n", at)) >= 0:
            words = bytes(held[at:end]).split()
            if not words or words[0] not in (b"MSG", b"HMSG"):
                if words[:1] == [b"PING"]:
                    line.sendall(b"PONG\r\n")
                at = end + 2
                continue
            size = int(words[-1])
            if len(held) < end + 2 + size + 2:
                break
            skip = int(words[-2]) if words[0] == b"HMSG" else 0
            found.append((words[1].decode(), bytes(held[end + 2 + skip : end + 2 + size])))
            at = end + 2 + size + 2
        del held[:at]
        if found:
            return found
        piece = line.recv(1 << 16)
        if not piece:
            raise EOFError
        held += piece


def drain_alone(folder: Path, total: int, told: Connection) -> None:
    """In a process of its own: fill an outbox, drain it, and tell the seconds and the memory in MiB that it took."""
    preload()
    ours = Ours(folder / "server")
    ours.start()
    moment = datetime.now(UTC)
    for at in range(0, total, 1000):
        data = {"node": "objection.price", "quote": "你们的价格太高了", "severity": "info", "turn": at, "by": "bench"}
        ours.prepare(Event(new_id(), "/sites/bench", "edge.node.raised", moment, "call-1", data) for _ in range(1000))
    began = time.monotonic()
    ours.send([])
    told.send((time.monotonic() - began, resident_mib()))
    ours.close()


class Ours:
    """The outbox, the uplink and the hub: CURVE, and FULL at both ends."""

    name = "edge-agent, CURVE, FULL at both ends"

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._hub = HubEnd(folder / "hub")
        self._key = keys.new(folder / "branch.key")
        keys.allow(self._hub.allow_file, self._key.public, "bench")
        self._keeper = Keeper(folder / "branch.db")

    @property
    def arrived(self) -> int:
        """How many the hub has acknowledged."""
        return self._keeper.acknowledged()

    def start(self) -> None:
        self._hub.start()

    def kill(self) -> None:
        self._hub.kill()

    def prepare(self, events: Iterable[Event]) -> None:
        """Put events into the outbox: in this appliance every event is there before it is sent."""
        batch = list(events)
        for at in range(0, len(batch), 1000):
            self._keeper.keep(events=batch[at : at + 1000]).result()

    def send(self, events: list[Event]) -> None:
        settings = Uplink(
            hub=self._hub.address, hub_key=self._hub.pair.public, key_file=str(self._folder / "branch.key")
        )
        line = Line(self._keeper, settings)
        line.start()
        if not line.drain(10 * PATIENCE_S):
            raise SystemExit(f"not acknowledged: {line.status()}")
        line.stop()

    def stored(self) -> Counter[str]:
        with Ledger.open(self._hub.database, readonly=True) as ledger:
            return Counter(json.loads(row.body)["id"] for row in ledger.events())

    def close(self) -> None:
        """End both."""
        self._hub.kill()
        self._keeper.stop()


def kill_test(rival: Rival, events: list[Event], kills: int) -> tuple[int, int, float]:
    """Send while the server is killed so many times; returns how many were lost, doubled, and the seconds it took."""
    failed: list[BaseException] = []

    def send() -> None:
        try:
            rival.send(events)
        except BaseException as error:
            failed.append(error)

    sender = threading.Thread(target=send, daemon=True)
    rival.prepare(events)
    began = time.monotonic()
    sender.start()
    for number in range(1, kills + 1):
        while sender.is_alive() and rival.arrived < len(events) * number // (kills + 1):
            time.sleep(0.001)
        rival.kill()
        rival.start()
    sender.join()
    took = time.monotonic() - began
    if failed:
        raise failed[0]
    found = rival.stored()
    lost = sum(event.id not in found for event in events)
    return lost, sum(count - 1 for count in found.values()), took


def resident_mib() -> float:
    """Return how much memory this process has at most had since it started, in MiB."""
    with open(f"/proc/{os.getpid()}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
