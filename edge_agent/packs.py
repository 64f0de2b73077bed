"""The site's packs: which version of each is in force, and the dictionary that is compiled of them.

A pack is in its folder until something is done to it; from then on the library (`edge_agent.store.Library`) says which
version is in force. What was compiled is kept (`edge_agent.kept`). A running appliance has it compiled by a child
process (`python -m edge_agent.packs`), so that its own threads never wait for it.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent import config, paths
from edge_agent.errors import DictionaryError, EdgeError, StoreError
from edge_agent.kept import Kept
from edge_agent.store import Change, Library

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_agent.terms import Dictionary, Pack

log = logging.getLogger(__name__)

SEGMENTER = "zh-segmenter"
_PATIENCE_S = 900.0
_FOLDER_FILES = ("pack.toml", "terms.csv", "decoys.csv")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the content of a pack comes from: a version of the library, or its folder with files of this hash."""

    pack: str
    source: str
    hash: str


class Packs:
    """The packs of a site, as its settings say where they are."""

    def __init__(self, settings: config.Dictionary) -> None:
        self.settings = settings
        self.folder = Path(settings.folder) if settings.folder else paths.shipped() / "dictionaries"
        self.file = paths.under_state(settings.database)
        self.kept = Kept(paths.under_state(settings.cache))

    # ---- what is in force

    def names(self) -> list[str]:
        """Return every pack there is, in the folder or in the library."""
        return sorted({file.parent.name for file in self.folder.glob("*/pack.toml")} | self.active().keys())

    def active(self) -> dict[str, Change]:
        """Return what the library has in force, by pack; nothing where nobody has ever changed a pack."""
        if not self.file.exists():
            return {}
        with Library.open(self.file, readonly=True) as library:
            return library.active()

    def in_folder(self, name: str) -> bool:
        """Tell whether a pack has a folder."""
        return Path(name).name == name and (self.folder / name).is_dir()

    def load(self, name: str) -> Pack:
        """Return a pack as it is in force.

        Raises:
            DictionaryError: there is no such pack, or it is wrong.
        """
        return self._load(self._origin(name, self.active()))

    def load_version(self, name: str, version: str) -> Pack:
        """Return a version of a pack: a hash or its beginning, `folder`, `active` or `previous`.

        Raises:
            DictionaryError: there is no such version.
        """
        from edge_agent.terms import Pack

        if version == "active":
            return self.load(name)
        if version == "folder":
            return Pack.load(self._existing(name))
        if not self.file.exists():
            raise DictionaryError(
                f"no version {version!r}",
                where=f"pack {name}",
                remedy="nothing was changed here yet: the pack is in force as its folder has it",
            )
        with Library.open(self.file, readonly=True) as library:
            digest = library.before(name).hash if version == "previous" else library.find(name, version)
            return Pack.parse(library.body(name, digest))

    def history(self, name: str | None = None) -> list[Change]:
        """Return what was done to a pack, or to all, the newest first."""
        if not self.file.exists():
            return []
        with Library.open(self.file, readonly=True) as library:
            return library.history(name)

    def _existing(self, name: str) -> Path:
        if self.in_folder(name):
            return self.folder / name
        there = self.names()
        raise DictionaryError(
            f"no pack {name!r}",
            where=str(self.folder),
            remedy=f"there is: {', '.join(there)}"
            if there
            else "the folder holds no pack; check [dictionary] folder, or make one with `edge-agent dict import --new`",
        )

    def _origin(self, name: str, active: Mapping[str, Change]) -> Origin:
        change = active.get(name)
        if change is not None and not (change.follows and self.in_folder(name)):
            return Origin(name, "library", change.hash)
        folder = self._existing(name)
        content = hashlib.sha256()
        for file in _FOLDER_FILES:
            with suppress(OSError):  # what is missing is told when the pack is read
                data = (folder / file).read_bytes()
                content.update(f"{file} {len(data)}\n".encode() + data)
        return Origin(name, "folder", content.hexdigest())

    def _load(self, origin: Origin) -> Pack:
        from edge_agent.terms import Pack

        if origin.source == "folder":
            return Pack.load(self.folder / origin.pack)
        with Library.open(self.file, readonly=True) as library:
            return Pack.parse(library.body(origin.pack, origin.hash))

    # ---- the compiled dictionary

    def dictionary(
        self, names: Sequence[str] | None = None, instead: Mapping[str, Pack] | None = None, *, keep: bool = True
    ) -> Dictionary:
        """Return the dictionary of these packs, or of those that the settings name: from the cache, or compiled now.

        `instead` gives packs that are not in force, in place of those that are. Without `keep` nothing is written.

        Raises:
            DictionaryError: there is no such pack, or one is wrong.
        """
        origins = self._origins(names, instead or {})
        found = self.kept.read(self._file(origins))
        return self._cutting(found if found is not None else self._compile(origins, instead or {}, keep=keep))

    def dictionary_apart(self) -> Dictionary:
        """Return the dictionary that the settings name; if it must be compiled, a child process does that.

        Raises:
            EdgeError: it can't be compiled.
        """
        found = self.kept.read(self._file(self._origins(None, {})))
        if found is not None:
            return self._cutting(found)
        from edge_agent.terms import Dictionary, compiled

        file, temporary = self._ask_child(None, {})
        try:
            return self._cutting(Dictionary.from_parts(compiled.read(file)))
        except (OSError, compiled.Damaged) as error:
            raise _not_compiled(str(error)) from error
        finally:
            if temporary:
                file.unlink(missing_ok=True)

    def segmenter(self) -> Path | None:
        """Return the folder of the model that cuts texts into words, if one is wanted."""
        name = self.settings.segmenter
        if name == "off":
            return None
        return Path(name).expanduser() if name else paths.shipped() / "models" / SEGMENTER

    def _cutting(self, dictionary: Dictionary) -> Dictionary:
        """Give a dictionary its segmenter; one that is loaded already serves every dictionary after it."""
        from edge_agent.terms import segment

        folder = self.segmenter()
        return dictionary if folder is None else replace(dictionary, segmenter=partial(segment.shared, folder))

    def _ask_child(self, names: Sequence[str] | None, instead: Mapping[str, str]) -> tuple[Path, bool]:
        """Have a child process compile, and return the file; `instead` names files that hold the content of packs."""
        asked = json.dumps(
            {"settings": self.settings.model_dump(mode="json"), "names": names, "instead": dict(instead)}
        )
        home = str(Path(__file__).resolve().parent.parent)
        search = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "edge_agent.packs"],
                input=asked.encode(),
                capture_output=True,
                timeout=_PATIENCE_S,
                check=False,
                env=os.environ | {"PYTHONPATH": search},
            )
            answer = json.loads(done.stdout or b"null")
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise _not_compiled(type(error).__name__) from error
        if not isinstance(answer, dict):
            raise _not_compiled(f"it ended with {done.returncode}")
        if "what" in answer:
            raise DictionaryError(answer["what"], where=answer["where"], remedy=answer["remedy"])
        return Path(answer["file"]), bool(answer["temporary"])

    def compile_for_another(
        self, names: Sequence[str] | None = None, instead: Mapping[str, Pack] | None = None
    ) -> tuple[Path, bool]:
        """Compile packs into the cache and return the file; True if it is for one reader alone."""
        from edge_agent.terms import compiled

        origins = self._origins(names, instead or {})
        dictionary = self._compile(origins, instead or {})
        file = self._file(origins)
        if file.exists():
            return file, False
        descriptor, name = tempfile.mkstemp(suffix=".dictionary")
        os.close(descriptor)
        compiled.write(Path(name), dictionary.parts())
        return Path(name), True

    def cached(self) -> Path | None:
        """Return the file of the compiled dictionary that the settings name, if there is one."""
        file = self._file(self._origins(None, {}))
        return file if file.exists() else None

    def _origins(self, names: Sequence[str] | None, instead: Mapping[str, Pack]) -> list[Origin]:
        active = self.active()
        return [
            Origin(name, "library", instead[name].digest) if name in instead else self._origin(name, active)
            for name in dict.fromkeys(self.settings.packs if names is None else names)
        ]

    def _file(self, origins: Sequence[Origin]) -> Path:
        return self.kept.file((one.pack, one.source, one.hash) for one in origins)

    def _compile(self, origins: Sequence[Origin], instead: Mapping[str, Pack], *, keep: bool = True) -> Dictionary:
        from edge_agent.terms import Dictionary

        dictionary = Dictionary.compile([instead.get(one.pack) or self._load(one) for one in origins])
        if keep:
            self.kept.keep(self._file(origins), dictionary)
        return dictionary

    # ---- changes

    def change(
        self,
        after: Pack,
        *,
        action: str,
        base: str | None,
        note: str = "",
        who: str = "",
        activate: bool = True,
        apart: bool = False,
    ) -> Change:
        """Keep a new version of a pack and, if wanted, put it in force.

        `base` is the hash that the change was made from, None for a new pack: if another is in force by now, nothing
        is done. A version that can't be compiled is never put in force; `apart` has a child process compile it, for
        callers that are part of a running appliance.

        Raises:
            DictionaryError: it can't be compiled, or somebody else was quicker.
            StoreError: it can't be written; nothing has changed.
        """
        if activate:
            self._try(after, apart=apart)
        with Library.open(self.file) as library, library.database.transaction():
            self._note_folder(library, after.id)
            self._check_base(library, after.id, base)
            return library.record(
                after.id,
                after.digest,
                after.content,
                terms=len(after.terms),
                decoys=len(after.decoys),
                action=action,
                who=who or user(),
                at=_now(),
                note=note,
                activate=activate,
            )

    def activate(self, name: str, version: str, *, who: str = "", note: str = "") -> Change:
        """Put a version of a pack in force: a hash or its beginning, `previous`, or `folder`, which is followed then.

        Raises:
            DictionaryError: there is no such version, or it can't be compiled; nothing has changed.
            StoreError: it can't be written; nothing has changed.
        """
        pack = self.load_version(name, version)
        self._try(pack)
        with Library.open(self.file) as library, library.database.transaction():
            self._note_folder(library, name)
            if version != "folder":
                return library.activate(name, pack.digest, action="activate", who=who or user(), at=_now(), note=note)
            return library.record(
                name,
                pack.digest,
                pack.content,
                terms=len(pack.terms),
                decoys=len(pack.decoys),
                action="activate",
                who=who or user(),
                at=_now(),
                note=note or "follows the folder",
                follows=True,
            )

    def roll_back(self, name: str, *, who: str = "") -> Change:
        """Put in force again what was in force before; the next time, what was before that.

        Raises:
            DictionaryError: nothing was in force before, or it can't be compiled; nothing has changed.
            StoreError: it can't be written; nothing has changed.
        """
        from edge_agent.terms import Pack

        with Library.open(self.file) as library:
            target = library.before(name)
            pack = Pack.parse(library.body(name, target.hash))
        self._try(pack)
        with Library.open(self.file) as library:
            follows = target.follows and self.in_folder(name) and Pack.load(self.folder / name).digest == target.hash
            return library.roll_back(name, who=who or user(), at=_now(), follows=follows)

    def _try(self, pack: Pack, *, apart: bool = False) -> None:
        """Compile what will be in force, which also leaves it in the cache for the appliance to take."""
        names = [*self.settings.packs] if pack.id in self.settings.packs else [pack.id]
        if not apart:
            self.dictionary(names, {pack.id: pack})
            return
        with tempfile.NamedTemporaryFile(suffix=".pack") as content:
            content.write(pack.content)
            content.flush()
            file, temporary = self._ask_child(names, {pack.id: content.name})
        if temporary:
            file.unlink(missing_ok=True)

    def _note_folder(self, library: Library, name: str) -> None:
        """Before the first change, note what was in force: the folder's own content, so that it can come back."""
        from edge_agent.terms import Pack

        if name in library.active() or not self.in_folder(name):
            return
        pack = Pack.load(self.folder / name)
        library.record(
            name,
            pack.digest,
            pack.content,
            terms=len(pack.terms),
            decoys=len(pack.decoys),
            action="folder",
            who="",
            at=_now(),
            note=f"as {self.folder / name} had it",
            follows=True,
        )

    def _check_base(self, library: Library, name: str, base: str | None) -> None:
        from edge_agent.terms import Pack

        now = library.active().get(name)
        in_force = now.hash if now else None
        if now is not None and now.follows and self.in_folder(name):
            in_force = Pack.load(self.folder / name).digest
        if in_force != base:
            raise DictionaryError(
                "somebody changed the pack meanwhile, so nothing was done",
                where=f"pack {name}",
                remedy=f"see `edge-agent dict versions --pack {name}`, and do it again",
            )


def user() -> str:
    """Return who gives the command: behind sudo, the person."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (OSError, KeyError):
        return f"uid {os.getuid()}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _not_compiled(why: str) -> DictionaryError:
    return DictionaryError(
        f"the dictionary could not be compiled ({why})",
        remedy="`edge-agent dict validate` looks at the packs; see also whether memory or disk is full",
    )


def main() -> int:
    """Compile for another process: settings as JSON on standard input, the file's name as JSON on standard output."""
    with suppress(OSError):
        os.nice(5)  # recognition goes first
    try:
        from edge_agent.terms import Pack

        asked = json.loads(sys.stdin.read())
        packs = Packs(config.Dictionary.model_validate_json(json.dumps(asked["settings"])))
        instead = {name: Pack.parse(Path(file).read_bytes()) for name, file in asked["instead"].items()}
        file, temporary = packs.compile_for_another(asked["names"], instead)
    except (EdgeError, StoreError) as error:
        print(json.dumps({"what": error.what, "where": error.where, "remedy": error.remedy}))
        return error.exit_code
    print(json.dumps({"file": str(file), "temporary": temporary}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
