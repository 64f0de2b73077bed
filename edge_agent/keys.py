"""CURVE keys and the allow-list: who a branch is, and who may come in.

Keys are those of CurveZMQ (Curve25519, https://rfc.zeromq.org/spec/26/), written in Z85 as 40 characters
(https://rfc.zeromq.org/spec/32/), some of which a shell takes only between single quotes. A branch *is* its public key;
the name beside it in the allow-list is for people.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import zmq
from zmq.utils import z85

from edge_agent.errors import KeyFileError

if TYPE_CHECKING:
    from pathlib import Path

_KEY_CHARS = 40
_MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair in Z85; the secret half is never shown, not even by `repr`."""

    public: str
    secret: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """The public key in short, to be compared by eye or over the telephone."""
        return fingerprint(self.public)


def fingerprint(public: str) -> str:
    """Return the first 64 bits of the public key's SHA-256 as hexadecimal digits in groups of four."""
    digits = hashlib.sha256(z85.decode(public)).hexdigest()[:16]
    return "-".join(digits[i : i + 4] for i in range(0, 16, 4))


def is_public_key(text: str) -> bool:
    """Say whether a text is a key that an allow-list can hold."""
    try:
        return len(text) == _KEY_CHARS and not text.startswith("#") and len(z85.decode(text)) == 32
    except Exception:  # pyzmq raises whatever its arithmetic meets
        return False


def new(path: Path) -> KeyPair:
    """Make a key pair and write it, for its owner's eyes only; an existing file is never overwritten.

    Raises:
        KeyFileError: the file exists already, or can't be written.
    """
    pair = _draw()
    text = (
        "# CURVE key pair of edge-agent. Whoever reads the secret key can speak in this machine's name.\n"
        f'public = "{pair.public}"\nsecret = "{pair.secret}"\n'
    )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        whole = _beside(path, text)
        try:
            os.link(whole, path)  # unlike a rename it fails where something is already
        finally:
            os.unlink(whole)
        _sync_folder(path)
    except FileExistsError as error:
        raise KeyFileError(
            "a key is there already and is not overwritten",
            where=str(path),
            remedy="`edge-agent keys show` prints it; for a new identity, move the old file away first",
        ) from error
    except OSError as error:
        raise KeyFileError(
            f"the key can't be written: {error.strerror}", where=str(path), remedy="name a folder that you may write to"
        ) from error
    return pair


def load(path: Path) -> KeyPair:
    """Read a key pair.

    Raises:
        KeyFileError: the file is missing, damaged, or may be read by others than its owner.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise KeyFileError(
                    f"others than its owner may use this key (mode {mode:04o})",
                    where=str(path),
                    remedy=f"chmod 600 {path}; if someone may have read it, make a new key",
                )
            table = tomllib.loads(file.read().decode())
        pair = KeyPair(table["public"], table["secret"])
        if zmq.curve_public(pair.secret.encode()).decode() != pair.public:
            raise ValueError("the two halves do not belong together")
    except FileNotFoundError as error:
        raise KeyFileError("no such key", where=str(path), remedy=f"`edge-agent keys new {path}` makes one") from error
    except OSError as error:
        raise KeyFileError(
            f"the key can't be read: {error.strerror}", where=str(path), remedy="run this as the key's owner"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, zmq.ZMQError) as error:
        raise KeyFileError(
            "damaged, or not a key file",
            where=str(path),
            remedy="restore it from a backup, or move it away and make a new one",
        ) from error
    return pair


def next_of(path: Path) -> Path:
    """Return where the key pair lies that is to follow the one of a file."""
    return path.with_name(f"{path.name}.next")


def switch(path: Path) -> tuple[KeyPair, Path]:
    """Put the next key pair in place of the present one; return it, and where the old one lies from now on.

    At every moment, after a power cut too, there is a key under the file's name.

    Raises:
        KeyFileError: one of the two is missing or damaged, or the folder can't be written.
    """
    present = load(path)
    following = next_of(path)
    if not following.exists():
        raise KeyFileError("there is no next key", where=str(following), remedy="`edge-agent keys new --next` makes it")
    pair = load(following)
    old = path.with_name(f"{path.name}.{present.fingerprint}")
    try:
        if not old.exists():  # it does where a power cut came between the two steps
            os.link(path, old)
        os.replace(following, path)
        _sync_folder(path)
    except OSError as error:
        raise KeyFileError(
            f"the key can't be changed: {error.strerror}", where=str(path), remedy="run this as the key's owner"
        ) from error
    return pair, old


def _draw() -> KeyPair:
    while True:
        public, secret = (half.decode() for half in zmq.curve_keypair())
        # A key that looks like a comment or like an option of a command would trip people up.
        if public[0] not in "#-":
            return KeyPair(public, secret)


# ---- the allow-list


def read_allowed(path: Path) -> dict[str, str]:
    """Read an allow-list: `PUBLICKEY name` a line, comments begin with #. Returns names by key.

    It is taken whole or not at all: a list that ends in the middle of a line is half-written.

    Raises:
        KeyFileError: the file is missing, half-written, or a line is wrong (names file and line).
    """
    text = _read(path)
    if not text.endswith("\n"):
        raise KeyFileError(
            "the list is half-written: its last line has no end", where=str(path), remedy="write the whole list again"
        )
    allowed: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, _, name = line.strip().partition(" ")
        name = name.strip()
        remedy = "a line is a public key of 40 characters, a blank, and a name"
        if not is_public_key(key):
            raise KeyFileError("not a public key", where=f"{path}:{number}", remedy=remedy)
        if not _is_name(name):
            raise KeyFileError("no name, or not a good one", where=f"{path}:{number}", remedy=remedy)
        if key in allowed:
            raise KeyFileError("this key stands here twice", where=f"{path}:{number}", remedy="remove one of the lines")
        allowed[key] = name
    return allowed


def allow(path: Path, public: str, name: str) -> None:
    """Add a branch to the list, or give it another name; the file is made where it is missing.

    Raises:
        KeyFileError: the key or the name is no good, or the list can't be read or written.
    """
    if not is_public_key(public):
        raise KeyFileError(
            "not a public key", where=public, remedy="`edge-agent keys show` at the branch prints its 40 characters"
        )
    if not _is_name(name):
        raise KeyFileError("not a good name", where=name, remedy=f"1 to {_MAX_NAME} characters without blanks")
    lines = _lines_without(path, {public}) if path.exists() else ["# PUBLICKEY name: branches that may connect"]
    _replace(path, [*lines, f"{public} {name}"])


def revoke(path: Path, who: str) -> dict[str, str]:
    """Take a branch off the list, by its key or by its name (every key of that name). Returns what was taken off.

    Raises:
        KeyFileError: no such branch, or the list can't be read or written.
    """
    gone = {key: name for key, name in read_allowed(path).items() if who in (key, name)}
    if not gone:
        raise KeyFileError(f"no branch {who!r} on the list", where=str(path), remedy="`edge-agent hub list` shows all")
    _replace(path, _lines_without(path, set(gone)))
    return gone


def _is_name(name: str) -> bool:
    return 0 < len(name) <= _MAX_NAME and name.isprintable() and " " not in name


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise KeyFileError(
            "no allow-list", where=str(path), remedy="`edge-agent hub allow 'PUBLICKEY' NAME` begins one"
        ) from error
    except OSError as error:
        raise KeyFileError(
            f"the list can't be read: {error.strerror}", where=str(path), remedy="let the hub's user read it"
        ) from error
    except UnicodeDecodeError as error:
        raise KeyFileError("not a text file (UTF-8)", where=str(path), remedy="write the whole list again") from error


def _lines_without(path: Path, keys: set[str]) -> list[str]:
    """Return the lines of a list that is right, comments too, but for those of some keys."""
    read_allowed(path)
    return [line for line in _read(path).splitlines() if line.strip().partition(" ")[0] not in keys]


def _replace(path: Path, lines: list[str]) -> None:
    """Put a new list in place of the old at once, so that no reader meets half of it."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        whole = _beside(path, "".join(f"{line}\n" for line in lines))
        os.chmod(whole, mode)
        os.replace(whole, path)
        _sync_folder(path)
    except OSError as error:
        raise KeyFileError(
            f"the list can't be written: {error.strerror}", where=str(path), remedy="run this as the hub's user"
        ) from error


def _beside(path: Path, text: str) -> str:
    """Write a temporary file (mode 0600) in the same folder, down to the disk, and return its name."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return name


def _sync_folder(path: Path) -> None:
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
