"""Settings: what a file may say, how a wrong one is explained, and that what is written reads back the same."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from edge_agent.config import OF_KIND, Config, Section, Source, SourceKind, load, settings, to_toml
from edge_agent.errors import ConfigError
from edge_agent.types import Speaker

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic.fields import FieldInfo


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8", newline="")
    return path


def refused(folder: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text))
    return caught.value


TWO_SOURCES = """\
# The site's recordings.
[[sources]]
name = "first"
path = "a.flac"

[[sources]]  # the second one
name = "second"
"""

BAD = {
    # name: (file, line, what is said, what is proposed)
    "unknown key": ("[vad]\n\nthresold = 0.5\n", 3, "unknown setting `vad.thresold`", "did you mean `threshold`?"),
    "unknown key, nothing like it": ("[store]\nx = 1\n", 2, "unknown setting `store.x`", "settings here: database,"),
    "unknown table": ("[site]\n[vadd]\n", 2, "unknown setting `vadd`", "did you mean `vad`?"),
    "unknown table, nothing like it": ("[zzz]\n", 1, "unknown setting `zzz`", "tables here: site, store"),
    "unknown table in a table": ("[site]\nid = 'a'\n[vad.more]\ny = 1\n", 3, "unknown setting `vad.more`", "settings"),
    "key before its table": ("\nthreshold = 0.5\n", 2, "unknown setting `threshold`", "it belongs in [vad]"),
    "key in the wrong table": ("[site]\nbeam = 1\n", 2, "unknown setting `site.beam`", "it belongs in [model]"),
    "text for a number": ('[hear]\nchunk_ms = "20"\n', 2, "`hear.chunk_ms`: should be a valid integer", "config show"),
    "fraction for a whole number": ("[hear]\nchunk_ms = 20.0\n", 2, "(found 20.0)", "config show"),
    "truth for a number": ("[hear]\nchunk_ms = true\n", 2, "(found True)", "config show"),
    "number for truth": ("[uplink]\ninsecure = 1\n", 2, "`uplink.insecure`: should be a valid boolean", "config show"),
    "number for text": ("[site]\nid = 7\n", 2, "`site.id`: should be a valid string (found 7)", "config show"),
    "date for text": (
        "[store]\ndatabase = 2024-01-01\n",
        2,
        "`store.database`: should be a valid string",
        "config show",
    ),
    "text for a list": ('[dictionary]\npacks = "pharma"\n', 2, "`dictionary.packs`: should be a valid", "config show"),
    "value for a table": ("vad = 3\n", 1, "`vad` is not a table (found 3)", "write [vad] above its settings"),
    "one table for several": ('[sources]\npath = "a"\n', 1, "`sources` is not a list of tables", "write [[sources]]"),
    "several tables for one": ("[[vad]]\nthreshold = 0.5\n", 1, "`vad` is not a table", "write [vad]"),
    "below the range": ("[hear]\nchunk_ms = 5\n", 2, "should be greater than or equal to 10 (found 5)", "config show"),
    "above the range": ("[model]\nbeam = 21\n", 2, "should be less than or equal to 20 (found 21)", "config show"),
    "not a number": ("[uplink]\nheartbeat_s = nan\n", 2, "`uplink.heartbeat_s`: should be a finite number", "config"),
    "no choice": ('[log]\nlevel = "loud"\n', 2, "should be 'debug', 'info', 'warning' or 'error'", "config show"),
    "no such name": ('[site]\nid = "a b"\n', 2, "`site.id`: String should match pattern", "config show"),
    "release above threshold": ("[vad]\nthreshold = 0.1\n", 1, "`vad`: `release` must not be above", "config show"),
    "pauses in the wrong order": ("[uplink]\nretry_max_s = 0.5\n", 1, "`retry_min_s` must not be above", "config show"),
    "dead before a heartbeat": ("[uplink]\ndead_after_s = 1\n", 1, "`heartbeat_s` must be below", "config show"),
    "hub without a port": ('[uplink]\nhub = "tcp://hub"\n', 2, "looks like tcp://host:port", "config show"),
    "hub with a port too high": ('[hub]\nbind = "tcp://*:65536"\n', 2, "a port of 1 to 65535", "config show"),
    "key of a wrong length": ('[uplink]\nhub_key = "abc"\n', 2, "a CURVE public key has 40 characters", "config show"),
    "missing in the second table": (TWO_SOURCES, 6, "`sources[2].path` is missing", "add `path = …` to this table"),
    "wrong in the second table": (
        TWO_SOURCES + 'path = "b"\nkind = "tape"\n',
        9,
        "`sources[2].kind`: should be 'file', 'watch', 'device' or 'rtp' (found 'tape')",
        "config show",
    ),
    "wrong deep in a list": (
        TWO_SOURCES + 'path = "b"\nspeakers = [\n  "agent",\n  "boss",\n]\n',
        9,
        "`sources[2].speakers[2]`: should be 'agent', 'customer' or 'unknown' (found 'boss')",
        "config show",
    ),
    "misspelt, therefore missing": (
        TWO_SOURCES + 'pth = "b"\n',
        8,
        "unknown setting `sources[2].pth`",
        "`path`?",
    ),
    "inline table, unknown key": ("hear = { chunk = 20 }\n", 1, "unknown setting `hear.chunk`", "`chunk_ms`?"),
    "inline table, wrong type": (
        "\nhear = { chunk_ms = [] }\n",
        2,
        "`hear.chunk_ms`: should be a valid",
        "config show",
    ),
    "inline tables in a list": ('sources = [\n {path = "a"},\n {name = "b"},\n]\n', 1, "`sources[2].path` is", "add"),
    "dotted key": ("site.id = 'a'\nvad.thresold = 1\n", 2, "unknown setting `vad.thresold`", "did you mean"),
    "quoted names": ("['vad']\n\"thresold\" = 1\n", 2, "unknown setting `vad.thresold`", "did you mean"),
    "Windows line ends": ("[site]\r\nid = 'a'\r\n[vad]\r\nx = 1\r\n", 4, "unknown setting `vad.x`", "settings here"),
    "bad TOML": ("[site]\nid = branch\n", 2, "not valid TOML: ", "double quotes"),
    "bad header": ("[site]\n\n[vad\n", 3, "not valid TOML: ", "a table begins with [name]"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_file_is_explained_with_its_line(tmp_path: Path, name: str) -> None:
    text, line, what, remedy = BAD[name]
    error = refused(tmp_path, text)
    assert error.where == f"{tmp_path / 'config.toml'}:{line}"
    assert what in error.what
    assert remedy in error.remedy
    assert error.exit_code == 4


def test_a_second_definition_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, "[hear]\nchunk_ms = 20\nchunk_ms = 30\n")
    assert "not valid TOML" in error.what
    assert str(tmp_path / "config.toml") in error.where


def test_several_faults_are_counted(tmp_path: Path) -> None:
    assert "(and 2 more)" in refused(tmp_path, "[hear]\na = 1\nb = 2\n[vad]\nthreshold = 7\n").what


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file") as caught:
        load(tmp_path / "none.toml")
    assert "config show" in caught.value.remedy


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "gb.toml"
    path.write_bytes('[site]\nid = "分行"\n'.encode("gb18030"))
    with pytest.raises(ConfigError, match="can't be read") as caught:
        load(path)
    assert "UTF-8" in caught.value.remedy


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        load(tmp_path)


def test_the_mark_that_windows_editors_put_first_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf[site]\r\nid = 'north'\r\n")
    assert load(path).site.id == "north"


def test_an_empty_file_is_every_default(tmp_path: Path) -> None:
    assert load(write(tmp_path, "")) == Config()


def test_a_whole_number_will_do_for_a_fraction(tmp_path: Path) -> None:
    assert load(write(tmp_path, "[uplink]\nheartbeat_s = 2\n")).uplink.heartbeat_s == 2.0


def test_settings_are_read_as_they_stand(tmp_path: Path) -> None:
    text = 'sources = [{ path = "a.flac", speakers = ["customer", "agent"] }]\nhub.bind = "tcp://[::1]:*"\n'
    config = load(write(tmp_path, text))
    assert config.sources == (Source(path="a.flac", speakers=(Speaker.CUSTOMER, Speaker.AGENT)),)
    assert config.hub.bind == "tcp://[::1]:*"


def test_the_printed_defaults_read_back(tmp_path: Path) -> None:
    assert load(write(tmp_path, to_toml())) == Config()


def test_the_printed_example_of_a_source_works_once_it_is_uncommented(tmp_path: Path) -> None:
    before, mark, after = to_toml().partition("# [[sources]]")
    example, rest = after.split("\n\n", 1)
    lines = [line.removeprefix("# ") if " = " in line else line for line in example.split("\n")]
    text = before + mark.removeprefix("# ") + "\n".join(lines).replace('path = ""', 'path = "a.flac"') + "\n\n" + rest
    assert load(write(tmp_path, text)) == Config(sources=(Source(path="a.flac"),))


def test_every_setting_has_a_sentence_and_a_page_entry() -> None:
    rows = settings()
    assert {row[0] for row in rows} == set(Config.model_fields)
    for table, name, unit, default, sentence in rows:
        assert sentence.endswith("."), f"{table}.{name} wants a sentence"
        assert default is not None or (table, name) == ("sources", "path")
        for suffix, word in {"_ms": "ms", "_s": "s", "_days": "days", "_bytes": "bytes"}.items():
            if name.endswith(suffix):
                assert unit == word, f"{table}.{name} wants the unit {word}"


# ---- round trip


def _limit(info: FieldInfo, name: str) -> Any:
    return next((getattr(limit, name) for limit in info.metadata if getattr(limit, name, None) is not None), None)


TEXT = st.text(max_size=24)
SHAPED = {
    "hub": st.just("") | st.integers(1, 65_535).map("tcp://head.example:{}".format),
    "path": TEXT.filter(bool),
    "pattern": st.sampled_from(["", "{started_at:%Y%m%d-%H%M%S}_{customer_id}_{}", "通话 {call_id}"]),
    "payloads": st.lists(st.sampled_from(["96 L16/16000", "97 L16/44100/2", "98 PCMU"]), max_size=3).map(tuple),
    "port": st.integers(1, 5000).map(lambda half: 2 * half),
    "hub_key": st.just("") | st.text(min_size=40, max_size=40),
    "hub_key_next": st.just("") | st.text(min_size=40, max_size=40),
    "publisher_key": st.just("") | st.from_regex(re.compile(r"[A-Za-z0-9+/]{43}=", re.ASCII), fullmatch=True),
    "url": st.sampled_from(["", "https://crm.example/events", "http://127.0.0.1:8080"]),
}
IN_ORDER = [("release", "threshold"), ("retry_min_s", "retry_max_s"), ("heartbeat_s", "dead_after_s")]


def _value(name: str, info: FieldInfo) -> st.SearchStrategy[Any]:
    annotation: Any = info.annotation
    if name in SHAPED:
        return SHAPED[name]
    if name == "bind" and info.default.startswith("tcp"):
        return st.sampled_from(["tcp://*:*", "tcp://0.0.0.0:7420", "tcp://[::]:1"])
    if get_origin(annotation) is tuple:
        inner = get_args(annotation)[0]
        items = st.sampled_from(inner) if issubclass(inner, StrEnum) else TEXT
        least, most = _limit(info, "min_length") or 0, _limit(info, "max_length") or 4
        return st.lists(items, min_size=least, max_size=most).map(tuple)
    if get_origin(annotation) is Literal:
        return st.sampled_from(get_args(annotation))
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(_limit(info, "ge"), _limit(info, "le"))
    if annotation is float:
        above = _limit(info, "gt")
        least = above if above is not None else _limit(info, "ge")
        return st.floats(least, _limit(info, "le"), exclude_min=above is not None)
    if issubclass(annotation, StrEnum):
        return st.sampled_from(list(annotation))
    if pattern := _limit(info, "pattern"):
        return st.from_regex(re.compile(pattern.replace("$", r"\Z"), re.ASCII))
    assert annotation is str, f"no strategy for {name}: {annotation}"
    return TEXT


def _in_order(values: dict[str, Any]) -> dict[str, Any]:
    for low, high in IN_ORDER:
        if low in values:
            values[low], values[high] = sorted((values[low], values[high]))
            if low == "heartbeat_s":
                values[high] = max(values[high], values[low] + 1)
    return values


def _of_its_kind(values: dict[str, Any]) -> dict[str, Any]:
    """Make a source of any values one that its kind allows."""
    kind = values["kind"]
    values = {name: value for name, value in values.items() if kind in OF_KIND.get(name, (kind,))}
    if kind == SourceKind.RTP:
        values["speakers"] = values["speakers"][:2]
    if kind == SourceKind.DEVICE:
        values["channels"] = tuple(range(len(values["speakers"]), 0, -1))
        if len(values["speakers"]) == 2 and values["second_device"]:
            values["channels"] = ()
        else:
            values["second_device"] = ""
    return values


def _section(model: type[Section]) -> st.SearchStrategy[Section]:
    fields = {
        name: _value(name, info) for name, info in model.model_fields.items() if (model, name) != (Source, "channels")
    }
    made = st.fixed_dictionaries(fields).map(_in_order)
    return (made.map(_of_its_kind) if model is Source else made).map(model.model_validate)


def configs() -> st.SearchStrategy[Config]:
    sections: dict[str, st.SearchStrategy[Any]] = {
        "sources": st.lists(_section(Source), max_size=3, unique_by=lambda one: one.name).map(tuple)  # type: ignore[attr-defined]
    }
    for table, info in Config.model_fields.items():
        if table != "sources":
            assert isinstance(info.annotation, type)
            assert issubclass(info.annotation, Section)
            sections[table] = _section(info.annotation)
    return st.fixed_dictionaries(sections).map(lambda given: Config(**given))


@given(configs())
@hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_written_reads_back_the_same(tmp_path_factory: pytest.TempPathFactory, config: Config) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.toml"
    path.write_text(to_toml(config), encoding="utf-8", newline="")
    assert load(path) == config
