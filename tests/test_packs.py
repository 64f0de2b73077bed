"""Versions of packs: what is in force, who put it there, back again; and the cache of what was compiled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from edge_agent import kept
from edge_agent import packs as module
from edge_agent.config import Dictionary as Settings
from edge_agent.errors import DictionaryError, StoreError
from edge_agent.packs import Packs
from edge_agent.store import Library
from edge_agent.terms import Dictionary, Pack, Term
from tests.conftest import TOP
from tests.test_terms_pack import PACK, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packs:
    monkeypatch.setenv("EDGE_AGENT_STATE", str(tmp_path / "state"))
    (tmp_path / "packs").mkdir()
    write(tmp_path / "packs")
    return Packs(Settings(folder=str(tmp_path / "packs"), packs=("tiny",)))


def more(pack: Pack, *terms: str) -> Pack:
    return replace(pack, terms=(*pack.terms, *map(Term, terms)))


def names(site: Packs) -> list[str]:
    return [entry.term.term for entry in site.dictionary().entries]


def add(site: Packs, *terms: str, activate: bool = True, who: str = "") -> str:
    before = site.load("tiny")
    return site.change(
        more(before, *terms), action="add", base=before.digest, note="、".join(terms), activate=activate, who=who
    ).hash


def test_a_pack_says_the_same_after_it_was_kept(site: Packs) -> None:
    pack = site.load("tiny")
    assert Pack.parse(pack.content) == pack
    assert Pack.parse(pack.content).digest == pack.digest


def test_reading_makes_no_database(site: Packs) -> None:
    assert names(site) == ["GMP认证", "重组蛋白", "医保目录编码"]
    assert site.history() == []
    assert not site.file.exists()


def test_every_change_is_on_record_and_one_command_goes_back(site: Packs) -> None:
    folder = site.load("tiny")
    first = add(site, "药事会", who="li")
    second = add(site, "科室会")
    assert names(site)[-2:] == ["药事会", "科室会"]
    changes = site.history("tiny")
    assert [(one.action, one.note) for one in changes][:2] == [("add", "科室会"), ("add", "药事会")]
    assert [one.who for one in changes] == [module.user(), "li", ""]
    assert all(one.at.endswith("Z") for one in changes)
    assert [one.hash for one in changes] == [second, first, folder.digest]
    assert [one.active for one in changes] == [True, False, False]

    assert site.roll_back("tiny").hash == first
    assert names(site)[-1] == "药事会"
    assert site.roll_back("tiny").hash == folder.digest  # the second goes back by two
    assert names(site) == ["GMP认证", "重组蛋白", "医保目录编码"]
    with pytest.raises(DictionaryError, match="nothing was in force before"):
        site.roll_back("tiny")
    assert site.activate("tiny", second[:8]).hash == second
    assert names(site)[-2:] == ["药事会", "科室会"]
    assert site.roll_back("tiny").hash == folder.digest
    assert len(site.history("tiny")) == 7


def test_the_folder_is_followed_again_after_going_back_to_it(site: Packs) -> None:
    add(site, "药事会")
    site.roll_back("tiny")
    write(site.folder, terms=PACK["terms.csv"] + "冷链,product,,,,,\n")
    assert names(site)[-1] == "冷链"
    add(site, "药事会")
    write(site.folder)  # an update of the folder does not touch what admins made of the pack
    assert names(site)[-2:] == ["冷链", "药事会"]
    site.activate("tiny", "folder")
    assert names(site) == ["GMP认证", "重组蛋白", "医保目录编码"]
    assert site.roll_back("tiny").terms == 5


def test_what_is_only_kept_is_not_in_force(site: Packs) -> None:
    version = add(site, "药事会", activate=False)
    assert "药事会" not in names(site)
    site.activate("tiny", version)
    assert "药事会" in names(site)


def test_a_pack_may_live_in_the_library_alone(site: Packs) -> None:
    site.change(Pack("own", "own", "x", "1", "zh-CN", "x", terms=(Term("质检云台"),)), action="import", base=None)
    assert site.names() == ["own", "tiny"]
    assert [entry.term.term for entry in site.dictionary(["own"]).entries] == ["质检云台"]
    with pytest.raises(DictionaryError, match="no pack 'nope'") as caught:
        site.load("nope")
    assert "own, tiny" in caught.value.remedy


def test_who_is_slower_changes_nothing(site: Packs) -> None:
    before = site.load("tiny")
    add(site, "药事会")
    with pytest.raises(DictionaryError, match="somebody changed the pack meanwhile"):
        site.change(more(before, "科室会"), action="add", base=before.digest)
    assert "科室会" not in names(site)


def test_what_does_not_compile_is_never_put_in_force(site: Packs, monkeypatch: pytest.MonkeyPatch) -> None:
    add(site, "药事会")

    def fail(packs: object) -> Dictionary:
        raise DictionaryError("it does not compile")

    with monkeypatch.context() as patch:
        patch.setattr(Dictionary, "compile", fail)
        with pytest.raises(DictionaryError, match="it does not compile"):
            add(site, "科室会")
    assert names(site)[-1] == "药事会"
    assert len(site.history()) == 2


def test_versions_are_asked_for_in_words(site: Packs) -> None:
    with pytest.raises(DictionaryError, match="no version 'abcd'"):
        site.load_version("tiny", "abcd")
    version = add(site, "药事会")
    assert site.load_version("tiny", version[:6]).digest == version
    assert site.load_version("tiny", "previous") == site.load_version("tiny", "folder")
    for wrong in ("ffffffff", version[:3]):
        with pytest.raises(DictionaryError, match="no version begins with"):
            site.activate("tiny", wrong)


def test_a_damaged_version_says_so_and_the_one_before_comes_back(site: Packs) -> None:
    add(site, "药事会")
    version = add(site, "科室会")
    with Library.open(site.file) as library, library.database.transaction() as connection:
        connection.execute("UPDATE versions SET body = x'00' WHERE hash = ?", [version])
    for file in site.kept.folder.iterdir():
        file.unlink()
    with pytest.raises(StoreError, match="damaged") as caught:
        site.dictionary()
    assert "rollback" in caught.value.remedy
    site.roll_back("tiny")
    assert names(site)[-1] == "药事会"


# ---- the cache


def test_nobody_compiles_the_same_twice(site: Packs, monkeypatch: pytest.MonkeyPatch) -> None:
    first = site.dictionary()
    monkeypatch.setattr(Dictionary, "compile", lambda packs: pytest.fail("compiled again"))
    again = site.dictionary()
    assert (again.version, list(again.entries)) == (first.version, list(first.entries))
    assert again.recognise("g m p 认正").text == "GMP认证"


def test_a_damaged_cache_is_made_anew(site: Packs, caplog: pytest.LogCaptureFixture) -> None:
    first = site.dictionary()
    (file,) = site.kept.folder.iterdir()
    whole = file.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:-200] + bytes(200), b"x" * len(whole)):
        file.write_bytes(content)
        caplog.clear()
        assert list(site.dictionary().entries) == list(first.entries)
        assert "is made anew" in caplog.text
        assert file.read_bytes() == whole


def test_the_cache_follows_files_and_program(site: Packs, monkeypatch: pytest.MonkeyPatch) -> None:
    site.dictionary()
    write(site.folder, decoys="heard,term,note\n")
    site.dictionary()
    assert len(list(site.kept.folder.iterdir())) == 2
    monkeypatch.setattr(kept, "compiler", lambda: "another program")
    site.dictionary()
    assert len(list(site.kept.folder.iterdir())) == 3
    for number in range(9):
        write(site.folder, decoys="heard,term,note\n" + f"甲乙{number}丙,,\n")
        site.dictionary()
    assert len(list(site.kept.folder.iterdir())) == 8


def test_without_a_place_for_a_cache_all_goes_on(site: Packs) -> None:
    site.kept.folder.parent.mkdir(parents=True)
    site.kept.folder.write_text("a file where the folder should be")
    assert len(site.dictionary().entries) == 3
    assert len(site.dictionary_apart().entries) == 3


def test_a_child_process_compiles_for_a_running_appliance(site: Packs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dictionary, "compile", lambda packs: pytest.fail("compiled in this process"))
    assert site.dictionary_apart().entries[0].term.term == "GMP认证"
    write(site.folder, terms="term,category\nx,y\n")
    with pytest.raises(DictionaryError, match="the column is missing") as caught:
        site.dictionary_apart()
    assert "terms.csv:1" in caught.value.where


def test_a_pack_that_is_published_is_compiled_apart_too(site: Packs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dictionary, "compile", lambda packs: pytest.fail("compiled in this process"))
    before = site.load("tiny")
    site.change(more(before, "药事会"), action="publish", base=before.digest, apart=True)
    assert names(site)[-1] == "药事会"  # from the cache


def test_a_child_that_dies_is_an_error(site: Packs, monkeypatch: pytest.MonkeyPatch) -> None:
    dying = f"import os; os.kill(os.getpid(), {signal.SIGKILL.value})"
    monkeypatch.setattr(sys, "executable", _script(site.kept.folder.parent, dying))
    with pytest.raises(DictionaryError, match=f"could not be compiled .it ended with -{signal.SIGKILL.value}"):
        site.dictionary_apart()


def _script(folder: Path, code: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "python"
    file.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}'\n")
    file.chmod(0o755)
    return str(file)


# ---- a power cut


def activate_and_die(site: Packs, version: str, at: int) -> bool:
    """Put a version in force in a process that is killed before its statement number `at`; True if it got through."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFEXITED(status) or os.WTERMSIG(status) == signal.SIGKILL
        return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
    try:
        library = Library.open(site.file)
        left = iter(range(at - 1))

        def cut(statement: str) -> None:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        library.database.conn.set_trace_callback(cut)
        Library.open = lambda *_, **__: library  # type: ignore[method-assign]
        Library.close = lambda *_: None  # type: ignore[method-assign]
        site.activate("tiny", version)
        os._exit(0)
    finally:
        os._exit(1)


def test_a_power_cut_leaves_the_old_version_or_the_new_one(site: Packs) -> None:
    old = add(site, "药事会")
    new = add(site, "科室会", activate=False)
    for at in range(1, 100):
        through = activate_and_die(site, new, at)
        in_force = site.active()["tiny"].hash
        assert in_force == (new if through else old)
        assert len(site.dictionary().entries) == (5 if through else 4)
        if through:
            break
    assert at > 5, "it was killed at several places"
    assert [one.action for one in site.history()].count("activate") == 1
    with Library.open(site.file) as library:
        assert library.database.value("PRAGMA integrity_check") == "ok"


def test_kill_9_during_a_real_import(site: Packs, tmp_path: Path) -> None:
    """Killed at several moments of the real command: what is in force is whole, old or new."""
    file = tmp_path / "more.csv"
    file.write_text("term\n" + "".join(f"新术语{number:05}\n" for number in range(500)), encoding="utf-8")
    config = tmp_path / "config.toml"
    config.write_text(f'[dictionary]\nfolder = "{site.folder}"\npacks = ["tiny"]\n', encoding="utf-8")
    add(site, "药事会")
    command = [sys.executable, "-m", "edge_agent", "dict", "import", str(file), "-p", "tiny", "-y", "-c", str(config)]
    for wait_s in (0.6, 1.2):
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=TOP)
        time.sleep(wait_s)
        running.kill()
        running.wait()
        assert len(site.dictionary().entries) in (4, 504)
        assert len(site.load("tiny").terms) in (4, 504)
