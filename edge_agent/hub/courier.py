"""The courier: takes events from the hub's database to the CRM, each customer's in order, until the CRM has them.

At least once on the way, once in the CRM by the idempotency key. One courier works on a database at a time, whichever
hub it runs in. What the CRM refuses goes to the dead letters; what fails is tried again after a pause with jitter. An
event is blamed only for what failed while others got through: a CRM that can't be reached, however long, puts nothing
aside.
"""

from __future__ import annotations

import logging
import random
import stat
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import TYPE_CHECKING

from edge_agent import paths
from edge_agent.errors import EdgeError, KeyFileError
from edge_agent.hub.base import open_base
from edge_agent.hub.deliveries import Deliveries, Outcome
from edge_agent.hub.mapping import Mapping
from edge_agent.hub.webhook import Answer, Verdict, compose, secret_key

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.config import Delivery
    from edge_agent.hub.rows import Waiting

log = logging.getLogger(__name__)

POLL_S = 0.5
REFUSED_IN_A_ROW = 20  # so many refusals without a success are no fault of the events
_MAX_DOUBLINGS = 20


class Courier:
    """Delivers on threads of its own from `start` to `stop`."""

    def __init__(self, database: str, settings: Delivery) -> None:
        """Read secret, authorization and mapping; nothing is connected before `start`.

        Raises:
            ConfigError: the mapping, the certificates or the proxy are wrong.
            KeyFileError: the secret or the authorization is missing, no good, or open to others.
        """
        from edge_agent.hub.post import Post

        self._database = database
        self._settings = settings
        self._keys = read_secrets(paths.under_state(settings.secret_file))
        self._mapping = Mapping.load(paths.under_state(settings.mapping)) if settings.mapping else None
        authorization = ""
        if settings.authorization_file:
            authorization = read_private(paths.under_state(settings.authorization_file)).strip()
        self._post = Post(settings, authorization)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier")
        self._under_way: dict[Future[Answer], tuple[Waiting, int]] = {}  # with when it was sent
        self._hold_until = self._intake_at = 0.0
        self._failures = 0  # of the CRM as a whole, since it last took something
        self._refusals = 0  # in a row
        self._took_at_ms = 0
        self._trouble: str | None = None

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Let what is under way come to its end, write it down, and stop."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._post.close()

    def _run(self) -> None:
        workers = self._settings.customers_at_once
        with ThreadPoolExecutor(workers, thread_name_prefix="post") as pool:
            while not self._stop.is_set():
                try:
                    with closing(open_base(self._database)) as base:
                        queue = Deliveries(base)
                        while not self._stop.is_set():
                            if base.alone("delivery"):
                                self._round(queue, pool)
                            else:
                                self._stop.wait(POLL_S)
                        self._collect(queue, None)
                except EdgeError as error:
                    log.error("delivery waits: %s; %s", error, error.remedy)
                except Exception:
                    log.exception("a fault of the program; delivery goes on")
                self._under_way = {}
                self._stop.wait(POLL_S)

    def _round(self, queue: Deliveries, pool: ThreadPoolExecutor) -> None:
        seen = 0
        if time.monotonic() >= self._intake_at:
            seen = queue.intake(self._settings.types)
            self._intake_at = time.monotonic() + (0 if seen else POLL_S)
        free = self._settings.customers_at_once - len(self._under_way)
        if self._failures:  # one at a time, until the CRM takes something again
            free = 1 - len(self._under_way)
        sent = False
        if free > 0 and time.monotonic() >= self._hold_until:
            busy = {waiting.lane for waiting, _ in self._under_way.values()}
            due = [head for head in queue.heads(_now_ms(), free + len(busy)) if head.lane not in busy]
            for head in due[:free]:
                self._under_way[pool.submit(self._send, head)] = head, _now_ms()
                sent = True
        if self._under_way:
            self._collect(queue, POLL_S)
        elif not (seen or sent):
            self._stop.wait(POLL_S)

    def _send(self, waiting: Waiting) -> Answer:
        binary = self._settings.content == "binary"
        try:
            body, headers = compose(waiting, self._mapping, binary=binary, keys=self._keys, now_s=_now_ms() // 1000)
        except Exception as error:  # what can't be written can't be sent, now or later
            return Answer(Verdict.REFUSED, f"no request can be made of it: {error}")
        return self._post.send(body, headers)

    def _collect(self, queue: Deliveries, patience_s: float | None) -> None:
        """Write down what has come of the requests under way, in one commit."""
        done, _ = wait(self._under_way, patience_s, FIRST_COMPLETED if patience_s is not None else "ALL_COMPLETED")
        if not done:
            return
        now_ms = _now_ms()
        results = [(*self._under_way[future], future.result()) for future in done]
        # Successes first: what failed beside them is then known to be no outage.
        results.sort(key=lambda result: result[2].verdict is not Verdict.DELIVERED)
        queue.settle([self._judge(waiting, sent_ms, answer, now_ms) for waiting, sent_ms, answer in results], now_ms)
        for future in done:
            del self._under_way[future]
        trouble = results[-1][2].said if self._failures else ""
        if trouble != self._trouble:
            queue.note_trouble(trouble, now_ms)
            self._trouble = trouble

    def _judge(self, waiting: Waiting, sent_ms: int, answer: Answer, now_ms: int) -> Outcome:
        verdict = answer.verdict
        if verdict is Verdict.DELIVERED:
            if self._failures:
                log.info("the CRM takes events again")
            self._failures = self._refusals = 0
            self._took_at_ms = now_ms
            return Outcome(waiting, delivered=True)
        if verdict is Verdict.REFUSED:
            self._refusals += 1
            if self._refusals <= REFUSED_IN_A_ROW:
                log.warning("event %s goes to the dead letters: the CRM refuses it (%s)", waiting.number, _code(answer))
                return Outcome(waiting, given_up=answer.said)
            verdict = Verdict.HOLD  # it refuses whatever comes: nothing of it is the events' fault
        # What was under way when the CRM came back failed with it, not by itself.
        blamed = sent_ms >= self._took_at_ms > waiting.last_ms > 0
        if blamed and waiting.blamed + 1 >= self._settings.tries:
            log.warning("event %s goes to the dead letters after %s tries (%s)", waiting.number, waiting.tries + 1,
                        _code(answer))  # fmt: skip
            return Outcome(waiting, given_up=f"{waiting.tries + 1} tries, others got through; {answer.said}")
        give_up_ms = self._settings.give_up_h * 3_600_000
        if verdict is Verdict.AGAIN and give_up_ms and waiting.first_ms and now_ms - waiting.first_ms > give_up_ms:
            log.warning("event %s goes to the dead letters: tried for too long (%s)", waiting.number, _code(answer))
            return Outcome(waiting, given_up=f"tried for {self._settings.give_up_h:g} h; {answer.said}")
        if verdict is Verdict.HOLD:
            self._failures += 1
            pause_s = self._pause_s(self._failures) if answer.retry_after_s is None else answer.retry_after_s
            self._hold_until = max(self._hold_until, time.monotonic() + pause_s)
            log.log(
                logging.WARNING if self._failures == 1 else logging.INFO,
                "the CRM takes nothing (%s); again in %.1f s", _code(answer), pause_s,
            )  # fmt: skip
        pause_s = self._pause_s(waiting.tries + 1) if answer.retry_after_s is None else answer.retry_after_s
        return Outcome(waiting, due_ms=now_ms + int(1000 * pause_s), blamed=blamed)

    def _pause_s(self, failures: int) -> float:
        """Return a pause with full jitter, from half a step up so that it is never nothing."""
        step = self._settings.retry_min_s * 2.0 ** min(failures - 1, _MAX_DOUBLINGS)
        return random.uniform(0.5, 1.0) * min(step, self._settings.retry_max_s)  # noqa: S311


def read_private(path: Path) -> str:
    """Read a file that only its owner may read.

    Raises:
        KeyFileError: it is missing, no text, or others may read it.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise KeyFileError(
                "others than its owner may read this secret", where=str(path), remedy=f"chmod 600 {path}"
            )
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise KeyFileError(
            "no such secret", where=str(path), remedy="`edge-agent hub secret` makes the one that signs requests"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(
            f"the secret can't be read: {error}", where=str(path), remedy="let the hub's user own the file"
        ) from error


def read_secrets(path: Path) -> list[bytes]:
    """Read the secrets that sign requests, one a line; while they are changed there are two.

    Raises:
        KeyFileError: the file is missing, open to others, or holds no secret.
    """
    lines = [line for line in read_private(path).split() if line]
    try:
        if keys := [secret_key(line) for line in lines]:
            return keys
        raise ValueError("the file is empty")
    except ValueError as error:
        raise KeyFileError(
            f"no secret to sign with: {error}",
            where=str(path),
            remedy="move it away; `edge-agent hub secret` makes one",
        ) from error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _code(answer: Answer) -> str:
    """Return what may stand in a log: the CRM's own words may repeat what was said on the telephone."""
    return answer.said.partition(":")[0]
