"""Keys and the allow-list: nothing is overwritten, nothing is half-taken, nothing secret is shown."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import keys
from edge_agent.errors import KeyFileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Cli


def key(number: int = 0) -> str:
    """A real public key, the same one for the same number."""
    secret = zmq.utils.z85.encode(bytes([number]) * 32)
    public = zmq.curve_public(secret).decode()
    return public if keys.is_public_key(public) else key(number + 100)


def refused(call: Callable[[], object]) -> KeyFileError:
    with pytest.raises(KeyFileError) as raised:
        call()
    assert raised.value.remedy
    return raised.value


def test_a_new_key_comes_back_the_same_and_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "branch.key"
    pair = keys.new(path)
    assert keys.load(path) == pair
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert pair.secret not in repr(pair)
    assert zmq.curve_public(pair.secret.encode()).decode() == pair.public
    assert list(path.parent.iterdir()) == [path]


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "branch.key"
    pair = keys.new(path)
    assert "not overwritten" in refused(lambda: keys.new(path)).what
    assert keys.load(path) == pair
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "branch.key"
    keys.new(path)
    path.chmod(mode)
    error = refused(lambda: keys.load(path))
    assert f"{mode:04o}" in error.what
    assert "chmod 600" in error.remedy


@pytest.mark.parametrize("text", ["", "public = ", "public = 1\nsecret = 2\n", "\x00", "[a]\n", "é"])
def test_a_damaged_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "branch.key"
    path.write_text(text, encoding="latin-1")
    path.chmod(0o600)
    assert "damaged" in refused(lambda: keys.load(path)).what


def test_halves_of_two_pairs_are_refused(tmp_path: Path) -> None:
    one, two = keys.new(tmp_path / "one.key"), keys.new(tmp_path / "two.key")
    path = tmp_path / "one.key"
    path.write_text(path.read_text().replace(one.public, two.public))
    assert "damaged" in refused(lambda: keys.load(path)).what


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    assert "keys new" in refused(lambda: keys.load(tmp_path / "none.key")).remedy


def test_fingerprints_differ_and_stay() -> None:
    assert keys.fingerprint(key(1)) != keys.fingerprint(key(2))
    assert keys.fingerprint(key(1)) == keys.fingerprint(key(1))
    assert [len(group) for group in keys.fingerprint(key(1)).split("-")] == [4, 4, 4, 4]


@given(st.text(max_size=60) | st.text("09azAZ.-:+=^!/*?&<>()[]{}@%$#", min_size=39, max_size=41))
def test_any_text_is_a_key_or_not(text: str) -> None:
    assert keys.is_public_key(text) in (True, False)


def test_allow_and_revoke_keep_comments_and_order(tmp_path: Path) -> None:
    path = tmp_path / "allowed"
    path.write_text(f"# our branches\n\n{key(1)}   北京 \n{key(2)} shanghai\n", encoding="utf-8")
    keys.allow(path, key(3), "canton")
    keys.allow(path, key(2), "pudong")
    assert keys.read_allowed(path) == {key(1): "北京", key(3): "canton", key(2): "pudong"}
    assert keys.revoke(path, "北京") == {key(1): "北京"}
    assert keys.revoke(path, key(3)) == {key(3): "canton"}
    assert path.read_text(encoding="utf-8") == f"# our branches\n\n{key(2)} pudong\n"
    assert list(tmp_path.iterdir()) == [path]


def test_revoking_the_last_leaves_a_list_that_allows_nobody(tmp_path: Path) -> None:
    path = tmp_path / "allowed"
    keys.allow(path, key(1), "one")
    keys.revoke(path, "one")
    assert keys.read_allowed(path) == {}


def test_revoking_a_stranger_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "allowed"
    keys.allow(path, key(1), "one")
    before = path.read_bytes()
    assert "no branch" in refused(lambda: keys.revoke(path, "two")).what
    assert path.read_bytes() == before


@pytest.mark.parametrize("cut", range(1, 44))
def test_a_half_written_list_is_never_taken(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "allowed"
    whole = f"{key(1)} one\n{key(2)} two\n"
    path.write_text(whole[:-cut])
    if whole[:-cut].endswith("\n"):
        # Cut between two lines it can't be told from a list of one.
        assert list(keys.read_allowed(path).values()) == ["one"]
        return
    refused(lambda: keys.read_allowed(path))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "allowed"),
        ("# c\nnokey one\n", "allowed:2"),
        (f"{key(1)}\n", "allowed:1"),
        (f"{key(1)} two words\n", "allowed:1"),
        (f"{key(1)} one\n{key(1)} two\n", "allowed:2"),
        (f"{key(1)} {'x' * 65}\n", "allowed:1"),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "allowed"
    path.write_text(text)
    assert refused(lambda: keys.read_allowed(path)).where.endswith(where)


def test_what_can_not_stand_in_a_list_is_not_allowed(tmp_path: Path) -> None:
    path = tmp_path / "allowed"
    refused(lambda: keys.allow(path, "#" + key(1)[1:], "one"))
    refused(lambda: keys.allow(path, key(1)[1:], "one"))
    refused(lambda: keys.allow(path, key(1), "two words"))
    refused(lambda: keys.allow(path, key(1), "line\nbreak"))
    assert not path.exists()


def test_commands(cli: Cli) -> None:
    made = cli.lines("keys", "new", "--json")[0]
    shown = cli.lines("keys", "show", "--json")[0]
    assert made == shown
    assert made["file"] == str(cli.state / "branch.key")
    assert cli.run("keys", "fingerprint").stdout.strip() == made["fingerprint"] == keys.fingerprint(made["public"])
    secret = keys.load(cli.state / "branch.key").secret
    assert secret not in cli.run("keys", "show").stdout
    assert "not overwritten" in cli.run("keys", "new", code=KeyFileError.exit_code).stderr
    assert cli.lines("keys", "new", "--for", "hub", "--json")[0]["file"] == str(cli.state / "hub.key")
    other = cli.state / "other.key"
    assert cli.lines("keys", "new", str(other), "--json")[0]["file"] == str(other)
