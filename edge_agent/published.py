"""What head office published to this branch: checked, put in force, and reported back.

A pack goes into the library of versions (`edge_agent.packs`), where `dict versions` shows it and `dict rollback` takes
it back; a rule set becomes a file that is read after the configured ones; a key that the hub will have next is one more
by which the uplink knows it. Each is wholly in force or not at all,
after a power cut too. Nothing is taken but what the configured publisher signed, nothing twice, and nothing older than
what is in force unless head office forces it.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
from typing import TYPE_CHECKING, Any

from edge_agent import rooms, wire
from edge_agent.errors import DictionaryError, EdgeError, StoreError
from edge_agent.manifest import HUB_KEY, PACK, Manifest, is_older
from edge_agent.signing import is_signed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from edge_agent.config import Config

log = logging.getLogger(__name__)

_RECORD = "installed.json"
_HUB_KEYS = "hub-keys"


class Published:
    """The uplink's `Receiver`: judges at once, applies on a thread of its own, and remembers what it took.

    `reload` puts dictionary and rules in force in the running appliance. `about` names the versions that run; `waiting`
    counts events that wait for head office. `own_key` returns this branch's public key, empty without one, and
    `hub_key` the one by which the hub is known at this moment.
    """

    def __init__(
        self,
        config: Config,
        *,
        reload: Callable[[], None],
        about: Callable[[], Mapping[str, str]],
        waiting: Callable[[], int],
        own_key: Callable[[], str] = str,
        hub_key: Callable[[], str] = str,
    ) -> None:
        self._config = config
        self._reload = reload
        self._about = about
        self._waiting = waiting
        self._own_key = own_key
        self._hub_key = hub_key
        self._hub_keys = _read_hub_keys() if config.uplink.publisher_key else ()
        self._record = _read_record()
        self._busy: int | None = None
        self.changed = threading.Event()
        self._inbox: queue.SimpleQueue[tuple[Manifest, bytes] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="published", daemon=True)

    def start(self) -> None:
        """Begin to apply what is taken."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is being applied is applied."""
        self._inbox.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    # ---- the uplink's side

    def report(self) -> wire.Report:
        """See `Receiver`."""
        self.changed.clear()
        return wire.Report(
            self._waiting(),
            dict(self._about()),
            tuple(
                (kind, name, entry["serial"], entry["sha256"], entry["error"])
                for (kind, name), entry in sorted(self._record.items())
            )[: wire.MAX_INSTALLED],
        )

    def wants(self, manifest: bytes, signature: bytes) -> Manifest | None:
        """See `Receiver`."""
        try:
            offer = Manifest.from_bytes(manifest)
        except ValueError as error:
            log.warning("what head office offers is not understood: %s", error)
            return None
        publisher = self._config.uplink.publisher_key
        if not publisher:
            self._refuse(offer, "this branch takes nothing: [uplink].publisher_key is not set")
            return None
        if not is_signed(manifest, signature, publisher):
            self._refuse(offer, "not signed by the publisher that this branch trusts", remember=False)
            return None
        if self._busy == offer.serial or (offer.branches and self._own_key() not in offer.branches):
            return None
        last = self._record.get((offer.kind, offer.name), {"serial": -1})
        if offer.serial <= last["serial"]:
            return None
        self._busy = offer.serial
        return offer

    def take(self, manifest: Manifest, content: bytes) -> None:
        """See `Receiver`."""
        self._inbox.put((manifest, content))

    def hub_keys(self) -> tuple[str, ...]:
        """See `Receiver`."""
        return self._hub_keys

    def give_up(self) -> None:
        """Forget what was under way: the line failed before it was whole."""
        if self._inbox.empty():
            self._busy = None

    # ---- the other side

    def _run(self) -> None:
        while (item := self._inbox.get()) is not None:
            manifest, content = item
            try:
                if not manifest.fits(content):
                    raise DictionaryError("what came is not what was signed")
                self._apply(manifest, content)
            except EdgeError as error:
                self._refuse(manifest, f"{error}; {error.remedy}" if error.remedy else str(error))
            except Exception as error:
                log.exception("a fault of the program; %s %s is not taken", manifest.kind, manifest.name)
                self._refuse(manifest, f"a fault of the program ({type(error).__name__}): the branch's log says more")
            else:
                log.info(
                    "%s %s %s is in force (%s)", manifest.kind, manifest.name, manifest.version, manifest.sha256[:12]
                )
                self._remember(manifest, "")
            self._busy = None

    def _apply(self, manifest: Manifest, content: bytes) -> None:
        """Put it in force, or raise and leave everything as it was."""
        if manifest.kind == PACK:
            self._apply_pack(manifest, content)
        elif manifest.kind == HUB_KEY:
            self._apply_hub_key(content)
        else:
            self._apply_rules(manifest, content)

    def _apply_pack(self, manifest: Manifest, content: bytes) -> None:
        from edge_agent.packs import Packs
        from edge_agent.terms import Pack

        try:
            pack = Pack.parse(content)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DictionaryError(
                f"the pack can't be read ({type(error).__name__})", remedy="update this branch, or publish it anew"
            ) from error
        if (pack.id, pack.version) != (manifest.name, manifest.version):
            raise DictionaryError(f"the pack calls itself {pack.id} {pack.version}")
        packs = Packs(self._config.dictionary)
        before = packs.load(pack.id) if pack.id in packs.names() else None
        if before is not None and is_older(pack.version, before.version) and not manifest.force:
            raise DictionaryError(
                f"version {pack.version} is older than {before.version}, which is in force",
                remedy="publish it with --force if it is meant",
            )
        if before is None or before.digest != pack.digest:
            packs.change(
                pack,
                apart=True,
                action="publish",
                base=before.digest if before else None,
                who="head office",
                note=f"serial {manifest.serial}",
            )
        self._reload()

    def _apply_rules(self, manifest: Manifest, content: bytes) -> None:
        from edge_agent.nodes import Rules

        place = rooms.published_folder()
        file = place / f"{manifest.name}.yaml"
        new = place / f".{manifest.name}.yaml.new"
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(new, content)
            # Held against all the rules that it will stand beside: a name may not be given twice.
            others = [path for path in rooms.rule_files(self._config) if path != file]
            try:
                Rules.load([*others, new])
            except DictionaryError as error:
                where = error.where.replace(str(new), file.name)
                raise DictionaryError(error.what, where=where, remedy=error.remedy) from error
            old = file.read_bytes() if file.exists() else None
            os.replace(new, file)
            _sync(place)
            try:
                self._reload()
            except BaseException:
                if old is None:
                    file.unlink()
                else:
                    _write(new, old)
                    os.replace(new, file)
                _sync(place)
                raise
        except OSError as error:
            raise StoreError(
                f"the rules can't be written: {error.strerror}", where=str(file), remedy="see disk and rights there"
            ) from error
        finally:
            new.unlink(missing_ok=True)

    def _apply_hub_key(self, content: bytes) -> None:
        from edge_agent import keys

        key = content.decode("ascii", "replace")
        if not keys.is_public_key(key):
            raise DictionaryError("the hub's next key is none", remedy="update this branch, or publish it anew")
        # The one in use stays, or a second change of keys would cut off who still connects by the first.
        known = tuple(dict.fromkeys(each for each in (self._hub_key(), key) if each))
        file = rooms.published_folder() / _HUB_KEYS
        new = file.with_name(f".{_HUB_KEYS}.new")
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(new, "".join(f"{each}\n" for each in known).encode())
            os.replace(new, file)
            _sync(file.parent)
        except OSError as error:
            raise StoreError(
                f"the hub's next key can't be written: {error.strerror}",
                where=str(file),
                remedy="see disk and rights there, or put it into [uplink] as `hub_key_next`",
            ) from error
        self._hub_keys = known

    def _refuse(self, manifest: Manifest, why: str, *, remember: bool = True) -> None:
        log.warning("%s %s %s is not taken: %s", manifest.kind, manifest.name, manifest.version, why)
        if remember:
            self._remember(manifest, why[:1000])

    def _remember(self, manifest: Manifest, error: str) -> None:
        key = (manifest.kind, manifest.name)
        entry = {"serial": manifest.serial, "sha256": manifest.sha256, "version": manifest.version, "error": error}
        self._record = {**self._record, key: entry}
        rows = [{"kind": kind, "name": name, **entry} for (kind, name), entry in sorted(self._record.items())]
        new = rooms.published_folder() / f".{_RECORD}.new"
        try:
            rooms.published_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(new, json.dumps(rows, ensure_ascii=False, indent=1).encode())
            os.replace(new, rooms.published_folder() / _RECORD)
            _sync(rooms.published_folder())
        except OSError as failed:
            log.error("what was taken is not remembered, and will be offered again: %s", failed)
        self.changed.set()


def _read_hub_keys() -> tuple[str, ...]:
    from edge_agent import keys

    file = rooms.published_folder() / _HUB_KEYS
    try:
        return tuple(key for key in file.read_text(encoding="ascii").splitlines() if keys.is_public_key(key))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        log.warning("the hub's keys that head office published are not read: %s: %s", file, error)
        return ()


def _read_record() -> dict[tuple[str, str], dict[str, Any]]:
    try:
        rows = json.loads((rooms.published_folder() / _RECORD).read_bytes())
        return {
            (str(row["kind"]), str(row["name"])): {
                "serial": int(row["serial"]),
                "sha256": str(row["sha256"]),
                "version": str(row["version"]),
                "error": str(row["error"]),
            }
            for row in rows
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("the record of what head office published is not read, and made anew: %s", error)
        return {}


def _write(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
