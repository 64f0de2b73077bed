"""Models come in, are checked, chosen and refused: for real, with a hub on loopback."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_agent.asr import Card, check, library, verify
from edge_agent.asr.card import FILE, Decoding, to_toml
from edge_agent.errors import ModelError
from edge_agent.types import Hypothesis
from tests.conftest import TOP, Cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODEL = TOP / "models" / "zh-starter"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A model without a card; the weights are a link, as hubs keep them."""
    folder = tmp_path / "whisper-foreign"
    folder.mkdir()
    for file in MODEL.iterdir():
        if file.suffix == ".json":
            (folder / file.name).write_bytes(file.read_bytes())
    (folder / "model.bin").symlink_to(MODEL / "model.bin")
    return folder


def archive(folder: Path, to: Path, *, inside: str = "whisper-foreign") -> Path:
    if to.suffix == ".zip":
        with zipfile.ZipFile(to, "w") as pack:
            for file in folder.iterdir():
                pack.write(file.resolve(), f"{inside}/{file.name}")
    else:
        with tarfile.open(to, "w:gz", compresslevel=1, dereference=True) as tar:
            tar.add(folder, inside)
    return to


@pytest.mark.parametrize("kind", ["folder", "whisper.tar.gz", "whisper.zip"])
def test_a_model_comes_in_from_a_folder_or_an_archive(kind: str, foreign: Path, tmp_path: Path) -> None:
    source = foreign if kind == "folder" else archive(foreign, tmp_path / kind)
    shelf = tmp_path / "models"
    place = library.bring_in(source, shelf)
    assert place == shelf / ("whisper-foreign" if kind == "folder" else "whisper")
    card = verify(place)
    assert card.name == place.name
    assert card.buckets_s == (30,)
    assert "model.bin" in card.sha256
    assert not (place / "model.bin").is_symlink()
    with pytest.raises(ModelError, match="of this name"):
        library.bring_in(source, shelf)
    library.bring_in(source, shelf, replace=True)
    assert [one.name for one in shelf.iterdir()] == [place.name], "nothing is left beside it"


def entry(
    name: str, data: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data) if kind == tarfile.REGTYPE else 0, link
    return info, data


@pytest.mark.parametrize(
    "evil",
    [
        entry("../evil"),
        entry("/tmp/evil"),
        entry("a/../../evil"),
        entry("model.bin", kind=tarfile.SYMTYPE, link="/etc/passwd"),
        entry("model.bin", kind=tarfile.LNKTYPE, link="../../evil"),
        entry("device", kind=tarfile.CHRTYPE),
    ],
    ids=lambda one: one[0].name,
)
def test_an_archive_that_reaches_out_is_refused(evil: tuple[tarfile.TarInfo, bytes], tmp_path: Path) -> None:
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(evil[0], io.BytesIO(evil[1]))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ModelError, match="no plain file within it"):
        library.bring_in(path, tmp_path / "models")
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "models"}


def test_a_zip_that_reaches_out_is_refused(tmp_path: Path) -> None:
    for number, name in enumerate(("../evil", "..\\evil", "/evil", "C:\\evil")):
        path = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(path, "w") as pack:
            pack.writestr(name, "x")
        with pytest.raises(ModelError, match="no plain file within it"):
            library.bring_in(path, tmp_path / "models")
    assert not (tmp_path / "evil").exists()


def test_an_archive_that_is_none_is_refused(foreign: Path, tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_bytes(b"no archive at all")
    with pytest.raises(ModelError, match="can't be read"):
        library.bring_in(tmp_path / "no.tar", tmp_path / "models")
    (foreign / "model.bin").unlink()
    with pytest.raises(ModelError, match=r"no model\.bin"):
        library.bring_in(foreign, tmp_path / "models")
    with pytest.raises(ModelError, match="no such folder"):
        library.bring_in(tmp_path / "nowhere", tmp_path / "models")
    for name in ("current", "..", "a/b", ""):
        with pytest.raises(ModelError, match="can't be called"):
            library.name_of(name)


def test_a_card_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    card = Card(
        name='a "name"\u007f',
        version="1",
        buckets_s=(10, 30),
        prompt_tokens=64,
        peak=0.3,
        decoding=Decoding(beam_size=2),
        sha256={"model.bin": "ab"},
        measured={"note": "好", "n": 3, "share": 0.5, "yes": True},
    )
    for one in (card, Card(name="x"), Card.load(MODEL)):
        (tmp_path / FILE).write_text(to_toml(one), encoding="utf-8")
        assert Card.load(tmp_path) == one


def test_the_commands(cli: Cli, foreign: Path) -> None:
    (came,) = cli.lines("model", "import", foreign, "--name", "mine", "--json")
    assert came["folder"] == str(cli.state / "models" / "mine")
    assert cli.lines("model", "verify", "mine", "--json")[0]["ok"] is True
    cli.run("model", "use", "mine")
    listed = {row["name"]: row["in_use"] for row in cli.lines("model", "list", "--json")}
    assert listed == {"zh-starter": False, "mine": True}
    (cli.state / "models/mine/tokenizer.json").write_text("{}", encoding="utf-8")
    assert "SHA-256" in cli.run("model", "verify", "mine", code=5).stderr
    assert "SHA-256" in cli.run("transcribe", TOP / "tests/data/asr/short.flac", code=5).stderr
    assert "SHA-256" in cli.run("model", "use", "mine", code=5).stderr
    cli.run("model", "use", "zh-starter")
    assert "*" in next(line for line in cli.run("model", "list").stdout.splitlines() if "zh-starter" in line)
    assert "model list" in cli.run("model", "verify", "nobody", code=5).stderr


class Listening:
    """What `check` needs of an engine: writes a text that depends on the context, and notes what it was told."""

    def __init__(self, needs_s: int) -> None:
        self.needs_s = needs_s
        self.context_s = 30

    def with_context(self, at_least_s: int) -> Listening:
        other = Listening(self.needs_s)
        other.context_s = at_least_s
        return other

    def transcribe(self, clips: list[np.ndarray], told: object = None) -> list[Hypothesis]:
        wrong = "错" if self.context_s < self.needs_s else ""
        return [Hypothesis(f"我们的价格是{len(clip) % 97}万{wrong}", 0.9) for clip in clips]


def test_a_context_is_safe_only_if_the_text_stays_the_same() -> None:
    clips = [np.zeros(16_000 * 3 + number, np.float32) for number in range(10)]
    found = {one.bucket_s: one for one in check.contexts(Listening(10), clips)}  # type: ignore[arg-type]
    assert {bucket: one.safe for bucket, one in found.items()} == {6: False, 10: True, 15: True}
    assert found[6].same == 0
    assert found[10].clips >= 12, "pieces that fill the context are tried too"
    few = list(check.contexts(Listening(1), clips[:2]))  # type: ignore[arg-type]
    assert not any(one.safe for one in few), "too little to conclude anything"


def test_prompting_must_help_and_do_no_harm() -> None:
    helps = check.Prompting(terms=10, untold=5, told=8, invented=0, difference=0.0)
    assert helps.helps
    for one in (
        check.Prompting(10, 5, 5, 0, 0.0),
        check.Prompting(10, 5, 8, 1, 0.0),
        check.Prompting(10, 5, 8, 0, 0.05),
        check.Prompting(2, 0, 2, 0, 0.0),
        check.Prompting(10, 5, 8, 0, None),
    ):
        assert not one.helps


def test_check_writes_a_card_from_the_users_own_audio(cli: Cli, foreign: Path) -> None:
    *found, told, card = cli.lines(
        "model", "check", foreign, TOP / "tests/data/asr/price.flac", "--limit", "2", "--json"
    )
    assert [one["bucket_s"] for one in found] == [6, 10, 15]
    assert all(one["clips"] >= 1 for one in found)
    assert not any(one["safe"] for one in found), "so little audio shows nothing"
    assert told["type"] == "prompting"
    assert card["written"]
    written = Card.load(foreign)
    assert written.buckets_s == (*(one["bucket_s"] for one in found if one["safe"]), 30)
    assert written.prompt_tokens == (64 if told["helps"] else 0)
    assert verify(foreign).sha256 == written.sha256 != {}
    again = cli.run("model", "check", foreign).stdout
    assert "nothing but the hashes" in again
    assert "--write" in again


# ------------------------------------------------------------------------------------------------ a hub on loopback


def lfs(data: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}


class Hub(BaseHTTPRequestHandler):
    """Answers as Hugging Face's hub does, for one repository; nothing else."""

    files: dict[str, bytes]
    commit = "0123456789abcdef0123456789abcdef01234567"
    spoil = False

    def do_HEAD(self) -> None:
        self.answer(send=False)

    def do_GET(self) -> None:
        self.answer(send=True)

    def answer(self, *, send: bool) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/branch/whisper"):
            listed = [
                {"rfilename": name, "size": len(data), "lfs": lfs(data) if name == "model.bin" else None}
                for name, data in self.files.items()
            ]
            if "/tree/" in path:
                body = json.dumps(
                    [
                        {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                        for name, data in self.files.items()
                    ]
                )
            else:
                body = json.dumps({"id": "branch/whisper", "sha": self.commit, "siblings": listed})
            self.reply(200, body.encode(), {"Content-Type": "application/json"}, send=send)
        elif path.startswith("/branch/whisper/resolve/") and (name := path.rpartition("/")[2]) in self.files:
            data = self.files[name]
            headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": self.commit}
            if send and self.spoil and name == "model.bin":
                data = data[:-1000] + bytes(1000)
            self.reply(200, data, headers, send=send)
        else:
            self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"}, send=send)

    def reply(self, status: int, body: bytes, headers: dict[str, str], *, send: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if send:
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(foreign: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    Hub.files = {file.name: file.read_bytes() for file in foreign.iterdir()}
    Hub.files["README.md"] = b"not wanted"
    Hub.spoil = False
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_model_is_fetched_from_a_mirror(cli: Cli, hub: str) -> None:
    (came,) = cli.lines("model", "fetch", "branch/whisper", "--mirror", hub, "--json")
    folder = cli.state / "models" / "whisper"
    assert came["folder"] == str(folder)
    card = verify(folder)
    assert card.buckets_s == (30,)
    assert set(card.sha256) == set(Hub.files) - {"README.md"}
    assert card.measured["source"].startswith(hub)
    assert not (folder / "README.md").exists()
    assert not (folder / ".cache").exists()


def test_what_is_not_there_is_told_apart(cli: Cli, hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no such model" in cli.run("model", "fetch", "branch/other", "--mirror", hub, code=5).stderr
    assert "cache" in cli.run("model", "fetch", "branch/whisper", "--offline", code=5).stderr
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "cache" in cli.run("model", "fetch", "branch/whisper", code=5).stderr
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    failed = cli.run("model", "fetch", "branch/whisper", code=5).stderr
    assert "model import" in failed
    assert "short names" in failed or "127.0.0.1:9" in failed
    assert "tiny" in cli.run("model", "fetch", "nothing", code=5).stderr
    assert not list((cli.state / "models").glob("*"))


def test_weights_that_are_not_those_of_the_hub_do_not_stay(cli: Cli, hub: str) -> None:
    Hub.spoil = True
    assert "SHA-256" in cli.run("model", "fetch", "branch/whisper", "--mirror", hub, code=5).stderr
    assert not list((cli.state / "models").glob("*"))
