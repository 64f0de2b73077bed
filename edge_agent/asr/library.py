"""The models of a site: a folder each under `models/` in the state folder, and a link `current` to the one in use.

A model comes in from a folder or an archive, without network, or is fetched from a hub of models (or a mirror of it).
It is made ready beside its place and moved there whole, so that a model is either there or not.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from edge_agent.asr.card import FILE, Card, digest, to_toml, verify
from edge_agent.asr.files import open_tokenizer
from edge_agent.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

CURRENT = "current"
HASHED = (
    "config.json",
    "language.npz",
    "model.bin",
    "preprocessor_config.json",
    "tokenizer.json",
    "vocabulary.json",
    "vocabulary.txt",
)
"""The files that a model may consist of, and that its card holds the hashes of."""
MOST_FILES, MOST_BYTES = 200, 16 << 30
"""No archive of a model holds more; one that says it does would fill the disk."""


def name_of(text: str) -> str:
    """Return a name for a model's folder.

    Raises:
        ModelError: it is empty, `current`, or has characters that a folder had better not have.
    """
    name = text.strip().strip(".")
    if not name or name == CURRENT or any(not (c.isalnum() or c in "._-") for c in name) or len(name) > 64:
        raise ModelError(
            f"a model can't be called {text!r}",
            remedy="give it a --name of letters, digits, dots and dashes, other than `current`",
        )
    return name


def models(folder: Path) -> list[Path]:
    """Return the models in a folder, by name."""
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.iterdir() if (one / "model.bin").is_file() and not one.is_symlink())


def bring_in(source: Path, library: Path, name: str = "", *, replace: bool = False) -> Path:
    """Import a model from a folder or an archive (tar, also compressed, or zip), and return where it lies now.

    Raises:
        ModelError: there is no model in it, it is damaged or not what its card says, or the name is taken.
    """
    if not source.exists():
        raise ModelError(
            "no such folder or archive", where=str(source), remedy="give a model's folder, a .tar or a .zip"
        )
    stem = source.name
    for suffix in (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tar", ".zip"):
        stem = stem.removesuffix(suffix)
    with staged(library, name or stem, replace=replace) as stage:
        if source.is_dir():
            copy(_root(source, source), stage)
        else:
            with tempfile.TemporaryDirectory(dir=library, prefix=".unpack-") as unpacked:
                _unpack(source, Path(unpacked))
                copy(_root(Path(unpacked), source), stage)
    return library / name_of(name or stem)


@contextmanager
def staged(library: Path, name: str, *, replace: bool = False) -> Iterator[Path]:
    """Give a folder in which a model is made ready; it is judged and moved to its place at the end, or removed.

    Raises:
        ModelError: the name is taken, or what was made ready is no sound model.
    """
    place = library / name_of(name)
    if place.exists() and not replace:
        raise ModelError("there is a model of this name", where=str(place), remedy="give another --name, or --replace")
    library.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(dir=library, prefix=".stage-"))
    try:
        yield stage
        card = verify(stage)
        open_tokenizer(stage, card.language)
        if not (stage / FILE).exists():
            write_plain_card(stage, place.name)
        stage.chmod(0o755)
        if place.exists():
            old = Path(tempfile.mkdtemp(dir=library, prefix=".old-"))
            place.rename(old / "model")
            stage.rename(place)
            shutil.rmtree(old)
        else:
            stage.rename(place)
    except OSError as error:
        raise ModelError(
            f"the model can't be stored: {error.strerror or error}", where=str(library), remedy="make room on the disk"
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def write_plain_card(folder: Path, name: str, *, source: str = "") -> None:
    """Write a card that claims nothing but the hashes: 30 s of context, no prompt."""
    hashes = {file: digest(folder / file) for file in HASHED if (folder / file).is_file()}
    card = Card(
        name=name, version=hashes["model.bin"][:8], sha256=hashes, measured={"source": source} if source else {}
    )
    (folder / FILE).write_text(to_toml(card), encoding="utf-8")


def current(library: Path) -> Path | None:
    """Return the model that was chosen with `use`."""
    link = library / CURRENT
    return link.resolve() if link.is_symlink() or link.exists() else None


def use(library: Path, model: Path | None) -> None:
    """Have the appliance use a model from its next start on; None: the one that is shipped.

    Raises:
        ModelError: the model isn't sound.
    """
    link = library / CURRENT
    if model is None:
        link.unlink(missing_ok=True)
        return
    card = verify(model)
    open_tokenizer(model, card.language)
    library.mkdir(parents=True, exist_ok=True)
    fresh = library / f".{CURRENT}-{os.getpid()}"
    fresh.unlink(missing_ok=True)
    within = model.resolve().parent == library.resolve()
    fresh.symlink_to(model.name if within else model.resolve())
    fresh.replace(link)  # at once: there is always one model in use


def _root(folder: Path, where: Path) -> Path:
    """Find the model in what was given: the folder itself, or one within it."""
    found = [file.parent for file in sorted(folder.rglob("model.bin"))]
    if folder in found:
        return folder
    if len(found) != 1:
        raise ModelError(
            "there is no model.bin in it" if not found else f"there are {len(found)} models in it",
            where=str(where),
            remedy="give one model in CTranslate2's form: model.bin, config.json, tokenizer.json and a vocabulary",
        )
    return found[0]


def copy(folder: Path, to: Path) -> None:
    """Copy the files of a model's folder."""
    for file in sorted(folder.iterdir()):
        if file.is_file():  # a link is followed: hubs keep weights as links into their cache
            shutil.copyfile(file, to / file.name)


def _unpack(archive: Path, to: Path) -> None:
    """Unpack regular files alone; nothing may lie outside of `to`."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as pack:
                entries = [one for one in pack.infolist() if not one.is_dir()]
                _bounded(archive, len(entries), sum(one.file_size for one in entries))
                for one in entries:
                    mode = one.external_attr >> 16
                    if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
                        raise _unsafe(archive, one.filename)
                    with pack.open(one) as stream:
                        _store(stream, to, one.filename, archive)
            return
        with tarfile.open(archive) as tar:
            members = [one for one in tar.getmembers() if not one.isdir()]
            _bounded(archive, len(members), sum(one.size for one in members))
            for member in members:
                held = tar.extractfile(member) if member.isreg() else None
                if held is None:
                    raise _unsafe(archive, member.name)
                _store(held, to, member.name, archive)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise ModelError(
            f"the archive can't be read: {error}",
            where=str(archive),
            remedy="copy it again; tar and zip are understood",
        ) from error


def _bounded(archive: Path, count: int, size: int) -> None:
    if count > MOST_FILES or size > MOST_BYTES:
        raise ModelError(
            f"the archive says that it holds {count} files of {size >> 20} MiB: that is no model",
            where=str(archive),
            remedy=f"a model has at most {MOST_FILES} files and {MOST_BYTES >> 30} GiB; unpack it, import the folder",
        )


def _store(stream: IO[bytes], to: Path, name: str, archive: Path) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
        raise _unsafe(archive, name)
    target = to.joinpath(*path.parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        shutil.copyfileobj(stream, out, 1 << 20)


def _unsafe(archive: Path, name: str) -> ModelError:
    return ModelError(
        f"the archive wants to write {name!r}, which is no plain file within it",
        where=str(archive),
        remedy="don't trust it; take the model from where it was made",
    )
