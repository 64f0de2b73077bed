"""A folder that a telephone system writes recordings into, as calls: each is heard once, whole, and never forgotten."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.audio.file import FileSource, slug
from edge_agent.audio.ledger import Entry, Ledger, Step
from edge_agent.audio.metadata import Metadata, NamePattern, read_sidecar, sidecars
from edge_agent.errors import AudioError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_agent.errors import EdgeError
    from edge_agent.types import Call, Speaker

log = logging.getLogger(__name__)

# A recording that ends the process this often is not tried again.
MOST_ATTEMPTS = 3
# A file without a byte may be a call that is about to begin; after this time it is none.
EMPTY_S = 3600.0
_BLOCK = 1 << 20


@dataclass(slots=True)
class _Seen:
    """A file that is not settled: since when it has been as it is, by the monotonic clock."""

    shape: tuple[int, int]
    since: float
    first: float
    digest: str = ""


class FolderIntake:
    """Hears every recording that comes into a folder and the folders within it; an `Intake`.

    A file is taken once its size and time have not changed for `settle_s`. What the system tells of changes
    (inotify) only makes a look come sooner; a share, which tells nothing, is looked through every `poll_s`. A recording
    is known by its content: a copy, or the same file under another name, is not heard again. One that goes on growing
    after it was heard is heard again as the same call.

    What holds no audio goes into the folder `quarantine` with the reason beside it. What can't be read is tried again.

    Args:
        name: of the source.
        folder: where recordings come; it may be missing for a while, as a share may.
        ledger: file that remembers what was heard.
        speakers: who speaks on each channel, where a side-car does not say.
        pattern: what file names tell (`NamePattern`); empty: nothing.
        sidecar_wait_s: how long a settled file waits for its side-car.
        at_once: recordings that are heard at the same time.
        quarantine: folder within `folder`; empty: what is no audio stays where it is.
        once: end when everything that lies there was heard.

    Raises:
        AudioError: the ledger can't be used; or, with `once`, the folder can't be read.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        ledger: Path,
        *,
        speakers: Sequence[Speaker],
        pattern: str = "",
        settle_s: float = 3.0,
        sidecar_wait_s: float = 0.0,
        poll_s: float = 2.0,
        at_once: int = 2,
        quarantine: str = "quarantine",
        chunk_ms: int = 100,
        once: bool = False,
    ) -> None:
        self.name = name
        self._folder = folder
        self._speakers = tuple(speakers)
        self._pattern = NamePattern(pattern) if pattern else None
        self._settle_s, self._sidecar_wait_s, self._poll_s = settle_s, sidecar_wait_s, poll_s
        self._at_once = at_once
        self._quarantine = folder / quarantine if quarantine else None
        self._chunk_ms = chunk_ms
        self._once = once
        self._ledger = Ledger(ledger)
        self._seen: dict[str, _Seen] = {}
        self._active: dict[str, Entry] = {}
        self._counts = {"heard": 0, "refused": 0}
        self._unreadable: dict[str, str] = {}
        self._trouble = ""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._observer: Any = None
        if once:
            self._look()

    def __iter__(self) -> Iterator[FileSource]:
        """Announce recordings until `close`, or with `once` until all are heard."""
        try:
            while not self._stopping.is_set():
                self._wake.clear()
                try:
                    yield from self._scan()
                    self._trouble = ""
                except OSError as error:
                    self._complain(f"can't be read: {error.strerror or error}")
                except AudioError as error:
                    self._complain(str(error))
                if self._once and self._is_done():
                    return
                self._watch()
                self._wake.wait(min(self._poll_s, self._settle_s) if self._seen else self._poll_s)
        finally:
            self._unwatch()

    def settled(self, call: Call, reason: str, error: EdgeError | None) -> None:
        """Note that a recording was heard to its end and that what came of it is stored."""
        with self._lock:
            entry = self._active.get(call.id)
        if entry is None:
            return
        if reason == "stopped":  # it stays begun, and is heard again at the next start
            self._note(replace(entry, attempts=entry.attempts - 1))
        else:
            step = Step.DONE
            shape = _shape(self._folder / entry.path)
            if error is None and shape is not None and shape[0] > entry.size:
                step = Step.GROWN
            self._note(replace(entry, step=step, reason=str(error) if error else reason))
            self._counts["heard"] += step == Step.DONE
        with self._lock:  # last, so that whoever finds it gone finds it in the ledger
            del self._active[call.id]
        self._wake.set()

    def _note(self, entry: Entry) -> None:
        try:
            self._ledger.note(entry)
        except AudioError as trouble:
            self._complain(str(trouble))

    def status(self) -> dict[str, Any]:
        """Say how it goes: how many were heard, wait, could not be read, or were refused since the start."""
        with self._lock:
            active = len(self._active)
        trouble = self._trouble or (f"{len(self._unreadable)} files can't be read" if self._unreadable else "")
        return {
            "name": self.name,
            "kind": "watch",
            "ok": not trouble,
            "state": f"{self._folder}" + (f": {trouble}" if trouble else ""),
            "calls": active,
            "files": {**self._counts, "waiting": len(self._seen), "unreadable": len(self._unreadable)},
        }

    def close(self) -> None:
        """Take no more recordings; those that are being heard are stopped by their listeners."""
        self._stopping.set()
        self._wake.set()

    # ---- looking

    def _look(self) -> list[tuple[str, os.stat_result]]:
        """List the files that may be recordings, oldest first."""
        found: list[tuple[str, os.stat_result]] = []
        for folder, folders, names in os.walk(self._folder, onerror=_raise):
            folders[:] = [each for each in folders if not self._is_aside(Path(folder, each))]
            for name in names:
                path = Path(folder, name)
                if name.startswith(".") or path.suffix == ".json":
                    continue
                try:
                    is_ = path.stat()
                except OSError:
                    continue  # renamed or gone since it was listed, or a link to nothing
                if stat.S_ISREG(is_.st_mode):
                    found.append((str(path.relative_to(self._folder)), is_))
        return sorted(found, key=lambda one: one[1].st_mtime_ns)

    def _is_aside(self, folder: Path) -> bool:
        return folder.name.startswith(".") or folder == self._quarantine

    def _scan(self) -> Iterator[FileSource]:
        """Look through the folder once; yields what is ready, as far as there is room."""
        listed = self._look()
        names = {name for name, _ in listed}
        self._seen = {name: seen for name, seen in self._seen.items() if name in names}
        self._unreadable = {name: why for name, why in self._unreadable.items() if name in names}
        for name, is_ in listed:
            if self._stopping.is_set():
                return
            with self._lock:
                full = len(self._active) >= self._at_once
                active = any(entry.path == name for entry in self._active.values())
            if active or not self._is_due(name, is_) or full:
                continue
            if source := self._take(name, is_):
                yield source

    def _is_due(self, name: str, is_: os.stat_result) -> bool:
        """Say whether a file has settled and was not dealt with."""
        shape = (is_.st_size, is_.st_mtime_ns)
        known = self._ledger.of_path(name)
        if known is not None and known.settled and (known.size, known.mtime_ns) == shape:
            self._seen.pop(name, None)
            return False
        now = time.monotonic()
        seen = self._seen.get(name)
        if seen is None or seen.shape != shape:
            first = seen.first if seen else now
            self._seen[name] = _Seen(shape, now, first)
            return False
        if now - seen.since < self._settle_s:
            return False
        if not is_.st_size:
            return now - seen.since >= (self._settle_s if self._once else EMPTY_S)
        waited = now - seen.since >= self._settle_s + self._sidecar_wait_s
        return waited or any(each.exists() for each in sidecars(self._folder / name))

    # ---- taking

    def _take(self, name: str, is_: os.stat_result) -> FileSource | None:
        """Open a recording and note that it is begun; None if it is not to be heard now."""
        path = self._folder / name
        seen = self._seen[name]
        try:
            seen.digest = digest = seen.digest or _digest(path)
        except OSError as error:
            self._cannot_read(name, error.strerror or str(error))
            return None
        self._unreadable.pop(name, None)
        entry = Entry(name, digest, is_.st_size, is_.st_mtime_ns, is_.st_ino, Step.BEGUN)
        with self._lock:
            if any(running.digest == digest for running in self._active.values()):
                return None  # the same under another name; what becomes of it counts for both
        same = self._ledger.of_content(digest) if is_.st_size else None
        if same is not None and same.settled:
            self._seen.pop(name, None)
            if same.path != name or (same.size, same.mtime_ns) != (entry.size, entry.mtime_ns):
                log.info("source %s: %s was heard before, as %s", self.name, name, same.path)
                self._ledger.note(replace(entry, step=same.step, call_id=same.call_id, reason=f"same as {same.path}"))
            return None
        entry = self._identify(entry, self._ledger.of_path(name), same)
        if entry.attempts > MOST_ATTEMPTS:
            self._refuse(entry, f"it was begun {MOST_ATTEMPTS} times and never finished")
            return None
        metadata = self._metadata(path)
        call_id = entry.call_id or self._call_id(metadata, path, digest)
        started_at = metadata.started_at or (datetime.fromisoformat(entry.started_at) if entry.started_at else None)
        try:
            source = FileSource(
                path,
                speakers=metadata.speakers or self._speakers,
                chunk_ms=self._chunk_ms,
                name=self.name,
                call_id=call_id,
                customer_id=metadata.customer_id,
                started_at=started_at or datetime.fromtimestamp(is_.st_mtime, UTC),
            )
        except AudioError as error:
            if not path.exists():
                return None  # renamed since; its new name will be seen
            self._refuse(entry, error.what)
            return None
        begun = replace(
            entry, call_id=call_id, started_at=source.call.started_at.isoformat(), attempts=entry.attempts + 1
        )
        try:
            self._ledger.note(begun)
        except AudioError:
            source.close()
            raise
        self._seen.pop(name, None)
        with self._lock:
            self._active[call_id] = begun
        log.info("source %s: %s is heard as call %s", self.name, name, call_id)
        return source

    def _identify(self, entry: Entry, before: Entry | None, same: Entry | None) -> Entry:
        """Give an entry the call that it had already: begun before a crash, or grown since it was heard."""
        if same is not None:
            return replace(entry, call_id=same.call_id, started_at=same.started_at, attempts=same.attempts)
        if before is not None and before.call_id and before.inode == entry.inode and before.size < entry.size:
            return replace(entry, call_id=before.call_id, started_at=before.started_at)
        return entry

    def _call_id(self, metadata: Metadata, path: Path, digest: str) -> str:
        """Name the call; an id that another recording has is told from it by the content."""
        told = metadata.call_id
        if told and self._ledger.owner(told) is None:
            return told
        return f"{told or slug(path.stem)}-{digest[:8]}"

    def _metadata(self, path: Path) -> Metadata:
        known = self._pattern.read(path.stem) if self._pattern else Metadata()
        for sidecar in sidecars(path):
            try:
                return read_sidecar(sidecar, known)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                log.warning("source %s: the side-car %s is passed over: %s", self.name, sidecar.name, error)
        return known

    def _cannot_read(self, name: str, why: str) -> None:
        if name not in self._unreadable:
            log.warning("source %s: %s can't be read (%s); it is tried again", self.name, name, why)
        self._unreadable[name] = why

    def _refuse(self, entry: Entry, why: str) -> None:
        """Put aside what can't be heard, with the reason beside it."""
        path = self._folder / entry.path
        log.warning("source %s: %s is refused: %s", self.name, entry.path, why)
        self._ledger.note(replace(entry, step=Step.REFUSED, reason=why))
        self._seen.pop(entry.path, None)
        self._counts["refused"] += 1
        if self._quarantine is None:
            return
        target = self._quarantine / entry.path
        if target.exists():
            target = target.with_name(f"{target.stem}-{entry.digest[:8]}{target.suffix}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
            note = {"file": entry.path, "reason": why, "at": datetime.now(UTC).isoformat(timespec="seconds")}
            target.with_name(target.name + ".reason.json").write_text(
                json.dumps(note, ensure_ascii=False) + "\n", encoding="utf-8"
            )
        except OSError as error:
            log.warning("source %s: %s stays where it is: %s", self.name, entry.path, error.strerror or error)

    # ---- waiting

    def _is_done(self) -> bool:
        with self._lock:
            return not self._active and not (self._seen.keys() - self._unreadable.keys())

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("source %s: %s: %s", self.name, self._folder, trouble)
        self._trouble = trouble

    def _watch(self) -> None:
        """Be woken by changes, where the system tells of them."""
        if self._trouble:
            self._unwatch()
        elif self._observer is None and self._folder.is_dir():
            from watchdog.events import FileSystemEvent, FileSystemEventHandler
            from watchdog.observers import Observer

            wake = self._wake

            class Waker(FileSystemEventHandler):
                def on_any_event(self, event: FileSystemEvent) -> None:
                    if event.event_type in ("created", "closed", "moved"):
                        wake.set()

            observer: Any = Observer()
            try:
                observer.schedule(Waker(), str(self._folder), recursive=True)
                observer.start()
            except OSError as error:  # too many folders are watched on this machine
                log.warning("source %s: changes are not told (%s); it is looked through", self.name, error)
                observer = _Deaf()
            self._observer = observer

    def _unwatch(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()


class _Deaf:
    """Stands for an observer where the system tells of no changes."""

    def stop(self) -> None:
        """Nothing runs."""

    def join(self) -> None:
        """Nothing runs."""


def _digest(path: Path) -> str:
    """Return what a file's content is known by."""
    found = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def _shape(path: Path) -> tuple[int, int] | None:
    try:
        is_ = path.stat()
    except OSError:
        return None
    return is_.st_size, is_.st_mtime_ns


def _raise(error: OSError) -> None:
    raise error
