"""The appliance: opens the rooms, runs the loops, and closes them in order.

Threads and what they own: a listener for each source (its decoder and VAD), a worker for each core (its recognizers),
`understand` (all conversations), `keep` (the database, the only writer), `uplink` (the socket to head office),
`control` (the local socket). `edge-agent demo` runs this same appliance on a recording.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from edge_agent import __version__, heap, paths, rooms
from edge_agent.config import SourceKind
from edge_agent.control import Control
from edge_agent.errors import ControlError, EdgeError, UplinkError
from edge_agent.hearing import Closed, Opened, Spoken
from edge_agent.pausing import ALL, Pause, Pauses
from edge_agent.pipeline import Corridor, Outcome
from edge_agent.published import Published
from edge_agent.store import Ended, Keeper, muted

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.audio import Intake, Source
    from edge_agent.config import Config
    from edge_agent.judging import Knowledge
    from edge_agent.uplink import Uplink

log = logging.getLogger(__name__)

_RETRY_S = 1.0
# A stopping appliance waits this long for a database that refuses; systemd kills it soon after.
_LAST_TRIES_S = 20.0
_LATENCIES = 1000
_PRUNE_EVERY_S = 3600.0
_MUTE_EVERY_S = 30.0
_GIVE_BACK_EVERY_S = 60.0
_PAUSES = "paused.json"


class Appliance:
    """One branch server at work.

    Sources may be attached before it is started: what they say waits while `start` reads the model and what judges.

    `observe` is told each outcome after it was committed, on the thread that understands. `failed` becomes set when the
    understanding thread ended by a fault: the appliance is deaf then and must be restarted. `left` says, once it is
    closed, how many events head office has not acknowledged.
    """

    def __init__(self, config: Config, *, observe: Callable[[Outcome], None] | None = None) -> None:
        heap.share()
        self._config = config
        self._observe = observe or (lambda outcome: None)
        self._started_at = datetime.now(UTC)
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._utterances = 0
        self._give_up_at = math.inf
        self._pruned_at = self._gave_back_at = time.monotonic()
        self._reloading = threading.Lock()
        self._swapping = threading.Lock()
        self.failed = threading.Event()
        self.left = 0
        self._ready = False
        card = rooms.model_card(config)
        self._model = card.title
        self._pauses = Pauses(paths.under_state(_PAUSES))
        self._intakes: list[Intake] = []
        self._corridor = Corridor(
            card,
            None,
            rooms.corridor_settings(config),
            pauses=self._pauses,
            spool=rooms.open_spool(config),
        )
        self.keeper = Keeper(paths.under_state(config.store.database), min_free_mib=config.store.min_free_mib)
        self._corridor.past_calls = self.keeper.past_calls
        self._published: Published | None = None
        self._uplink: Uplink | None = None
        if config.uplink.hub:
            self._published = Published(
                config,
                reload=self.reload,
                about=self._about,
                waiting=lambda: self.keeper.counts().waiting,
                own_key=lambda: rooms.own_key(config),
                hub_key=lambda: self._uplink.status().hub_key if self._uplink is not None else "",
            )
            self._uplink = rooms.open_uplink(config, self.keeper, self._about, self._published)
        self._understanding = threading.Thread(target=self._understand, name="understand", daemon=True)

    def start(self) -> None:
        """Read the model and what judges, and begin to understand what is attached and to tell head office.

        Raises:
            EdgeError: the model, a pack or a rule file can't be used.
        """
        with self._reloading:
            knowledge = rooms.open_knowledge(self._config)
            self._corridor.equip(rooms.open_desks(self._config), knowledge)
            self._adopt(knowledge)
            self._ready = True
        if self._published is not None:
            self._published.start()
        if self._uplink is not None:
            self._uplink.start()
        self._understanding.start()

    def attach(self, source: Source) -> None:
        """Begin to hear a source."""
        self._corridor.attach(source)

    def receive(self, intake: Intake) -> None:
        """Begin to hear every call that an intake announces."""
        self._intakes.append(intake)
        self._corridor.receive(intake)

    def pause(self, call: str, by: str, for_s: float | None = None) -> dict[str, Any]:
        """Drop the audio of a call, or with `all` of every live call, until `resume` or for some seconds.

        Raises:
            ControlError: no such call runs, or the pause can't be written down.
        """
        running = {each.id for each in self._corridor.calls}
        if call != ALL and call not in running:
            known = ", ".join(sorted(running)) or "none"
            raise ControlError("no such call runs", where=call, remedy=f"calls that run: {known}; or `all`")
        self._pauses.begin(call, Pause(by, None if for_s is None else time.time() + for_s))
        log.info("%s paused by %s", call, by)
        return self.status()

    def resume(self, call: str, by: str) -> dict[str, Any]:
        """Hear a call, or with `all` every call, again.

        Raises:
            ControlError: it is not paused.
        """
        self._pauses.end(call, by)
        log.info("%s resumed by %s", call, by)
        return self.status()

    def reload(self, *, rules: bool = True) -> None:
        """Load the dictionary and, if wanted, the rules anew and swap them in; keep the old ones if a new one is wrong.

        It may take long, and is called on a thread that may wait: what must be compiled is compiled by a child process,
        and calls go on being heard and judged meanwhile.

        Raises:
            EdgeError: a pack or a rule file is wrong; nothing has changed.
        """
        with self._reloading:
            dictionary = rooms.open_dictionary(self._config, apart=True)
            if rules:
                knowledge = rooms.open_knowledge(self._config, dictionary)
                knowledge.prepare()
                self._adopt(knowledge)
            else:
                with self._swapping:
                    self._corridor.knowledge = replace(self._corridor.knowledge, dictionary=dictionary)
            log.info("dictionary %s, rules %s", *self._judges())

    def finish(self) -> None:
        """Wait until every attached source is heard to its end and judged."""
        self._corridor.close()
        self._understanding.join()

    def drain(self, timeout_s: float) -> bool:
        """Wait until head office has acknowledged everything; False when it has not in time or there is no uplink."""
        return self._uplink is not None and self._uplink.drain(timeout_s)

    def close(self) -> None:
        """Stop hearing, judge and store what was heard, send what can be sent, and close the rooms."""
        if self._understanding.ident is None:  # it never started
            self._corridor.abandon()
        else:
            self._corridor.stop()
            self._give_up_at = time.monotonic() + _LAST_TRIES_S
            self._understanding.join()
        if self._uplink is not None:
            self._uplink.drain(self._config.uplink.drain_s)
            self._uplink.stop()
        if self._published is not None:
            self._published.stop()
        self.left = self.keeper.counts().waiting
        self.keeper.stop()

    def status(self) -> dict[str, Any]:
        """Say how it goes; what `edge-agent status --json` prints."""
        counts = self.keeper.counts()
        dictionary, rules = self._judges()
        return {
            "type": "status",
            "site": self._config.site.id,
            "version": __version__,
            "started_at": self._started_at.isoformat(timespec="seconds"),
            "calls": [
                {
                    "call_id": call.id,
                    "source": call.source,
                    "started_at": call.started_at.isoformat(timespec="seconds"),
                    "lag_ms": self._corridor.lag_ms(call),
                }
                for call in self._corridor.calls
            ],
            "sources": [intake.status() for intake in self._intakes],
            "paused": {
                call: {"by": pause.by, "until": pause.until and _stamp(pause.until)}
                for call, pause in self._pauses.now().items()
            },
            "waiting": self._corridor.waiting,
            "utterances": self._utterances,
            "recognition": self._corridor.load(),
            "latency_ms": self.latency_ms(),
            "events": {
                "stored": counts.events,
                "acknowledged": counts.acknowledged,
                "waiting": counts.waiting,
                "rejected": counts.rejected,
            },
            "disk": asdict(self.keeper.space()),
            "rescued": asdict(self.keeper.rescued) if self.keeper.rescued else None,
            "uplink": self._uplink.status().to_dict() if self._uplink is not None else None,
            "model": self._model,
            "dictionary": dictionary,
            "rules": rules,
            "understanding": not self.failed.is_set(),
        }

    def latency_ms(self) -> dict[str, int] | None:
        """Return p50 and p95 from the end of speech to the committed event, in ms; None before the first event."""
        seen = sorted(self._latencies)
        if not seen:
            return None
        return {f"p{part}": round(1000 * seen[min(len(seen) - 1, len(seen) * part // 100)]) for part in (50, 95)}

    def _about(self) -> dict[str, str]:
        dictionary, rules = self._judges()
        return {"agent": __version__, "dictionary": dictionary, "rules": rules, "model": self._model}

    def _judges(self) -> tuple[str, str]:
        """Name the dictionary and the rules in force; neither has a name before it is read."""
        if not self._ready:
            return "", ""
        versions = self._corridor.knowledge.versions()
        return versions.dictionary, versions.rules

    def _adopt(self, knowledge: Knowledge) -> None:
        """Judge by this from the next call on, with the candidate beside, and keep it as a version."""
        whole = rooms.with_candidate(self._config, knowledge)
        with self._swapping:
            self._corridor.knowledge = whole
        self._mute()
        try:
            rooms.keep_version(self._config, knowledge)
        except EdgeError as error:
            log.warning("this version can't be compared later: %s", error)

    def _mute(self) -> None:
        """Let raise nothing, for now, what reviewers accepted too little of."""
        self._muted_at = time.monotonic()
        silent = muted(self.keeper.shares(), self._config.nodes.review_floor, self._config.nodes.review_least)
        with self._swapping:
            knowledge = self._corridor.knowledge
            if silent != knowledge.muted:
                log.warning("in shadow by review: %s", ", ".join(sorted(silent)) or "nothing any more")
                self._corridor.knowledge = replace(knowledge, muted=silent)

    def _understand(self) -> None:
        try:
            self._corridor.knowledge.prepare()
            for outcome in self._corridor.outcomes():
                self._keep(outcome)
                if self._corridor.idle or time.monotonic() - self._gave_back_at > _GIVE_BACK_EVERY_S:
                    self._give_back()
                self._observe(outcome)
                if time.monotonic() - self._muted_at > _MUTE_EVERY_S:
                    self._mute()
                if time.monotonic() - self._pruned_at > _PRUNE_EVERY_S:
                    self._prune()
        except Exception:
            log.exception("understanding ended by a fault of the program")
            self.failed.set()

    def _keep(self, outcome: Outcome) -> None:
        """Commit an outcome before the next one is judged; where the database refuses, wait rather than lose it."""
        item = outcome.item
        while True:
            try:
                self.keeper.keep(
                    calls=(item.call,) if isinstance(item, Opened) else (),
                    transcripts=(outcome.transcript,) if outcome.transcript else (),
                    events=outcome.events,
                    ended=(Ended(item.call.id, item.end_ms, item.reason),) if isinstance(item, Closed) else (),
                    remembered=(outcome.memory,) if outcome.memory else (),
                    shadowed=outcome.shadowed,
                ).result()
                break
            except EdgeError as error:
                if time.monotonic() > self._give_up_at:
                    raise
                log.error("not stored, trying again: %s", error)
                time.sleep(_RETRY_S)
        self._utterances += outcome.transcript is not None
        if isinstance(item, Closed):
            for intake in self._intakes:
                intake.settled(item.call, item.reason, item.error)
        if outcome.events and isinstance(item, Spoken):
            self._latencies.append(time.monotonic() - item.heard_at)

    def _give_back(self) -> None:
        """Give the system the memory that the calls have left."""
        self._gave_back_at = time.monotonic()
        heap.give_back()

    def _prune(self) -> None:
        self._pruned_at = time.monotonic()
        before = datetime.now(UTC) - timedelta(days=self._config.store.keep_acknowledged_days)
        try:
            log.info("%d acknowledged events removed", self.keeper.prune(before).result())
        except EdgeError as error:
            log.warning("acknowledged events were not removed: %s", error)


def run(config: Config, *, until_done: bool = False) -> int:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP reloads dictionary and rules.

    With `until_done` it ends by itself when every source has been heard. Returns the exit code.

    Raises:
        EdgeError: a room can't be opened; or, with `until_done`, events are left that the hub has not acknowledged.
    """
    import queue
    import signal

    from edge_agent import notify

    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, frame: signals.put(received))
    appliance = Appliance(config)
    control = None
    try:
        control = Control(
            paths.under_state(config.control.socket),
            {
                "status": appliance.status,
                "pause": appliance.pause,
                "resume": appliance.resume,
                "reload": _reloader(appliance, rules=True),
                "dictionary": _reloader(appliance, rules=False),
            },
        )
        files = [rooms.open_source(config, source) for source in config.sources if source.kind == SourceKind.FILE]
        intakes = [
            rooms.open_intake(config, source, once=until_done)
            for source in config.sources
            if source.kind != SourceKind.FILE
        ]
        for source in files:
            appliance.attach(source)
        for intake in intakes:
            appliance.receive(intake)
        log.info("hearing %d sources; the model and what judges are being read", len(config.sources))
        appliance.start()
        notify.ready()
        log.info("site %s hears %d sources", config.site.id, len(config.sources))
        finishing = threading.Thread(target=appliance.finish, name="finish", daemon=True)
        if until_done:
            finishing.start()
        while not appliance.failed.is_set() and not (until_done and not finishing.is_alive()):
            try:
                received = signals.get(timeout=notify.interval_s())
            except queue.Empty:
                notify.alive()
                continue
            if received != signal.SIGHUP:
                log.info("stopping on %s", signal.Signals(received).name)
                break
            threading.Thread(target=_reload_on_signal, args=(appliance,), name="reload", daemon=True).start()
    finally:
        notify.stopping()
        if control is not None:
            control.close()
        appliance.close()
    if until_done and config.uplink.hub and appliance.left:
        raise UplinkError(
            f"{appliance.left} events wait in the database: head office has not acknowledged them",
            where=config.uplink.hub,
            remedy="they are sent when it is reached: `edge-agent run` keeps trying; `edge-agent doctor` looks why",
        )
    return 1 if appliance.failed.is_set() else 0


def _reload_on_signal(appliance: Appliance) -> None:
    """Reload on a thread of its own, so that the watchdog is told meanwhile that the appliance lives."""
    from edge_agent import notify

    notify.reloading()
    try:
        appliance.reload()
    except EdgeError as error:
        log.error("reload refused, the old dictionary and rules stay: %s", error)
    except Exception:
        log.exception("reload ended by a fault of the program, the old dictionary and rules stay")
    notify.ready()


def _reloader(appliance: Appliance, *, rules: bool) -> Callable[[], dict[str, Any]]:
    def reload() -> dict[str, Any]:
        appliance.reload(rules=rules)
        return appliance.status()

    return reload


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
