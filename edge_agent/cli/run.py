"""`run`, `status`, `reload`, `pause`, `resume`: the appliance at work, and how it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli.out import AsJson, ConfigFile, console, emit, settings

if TYPE_CHECKING:
    from edge_agent.config import Config


def register(app: typer.Typer) -> None:
    """Add this group's commands to the front door."""
    app.command()(run)
    app.command()(status)
    app.command()(reload)
    app.command()(pause)
    app.command()(resume)


def run(
    config: ConfigFile = None,
    once: Annotated[bool, typer.Option("--once", help="End when every source has been heard.")] = False,
    shadow: Annotated[
        str,
        typer.Option("--shadow", metavar="CANDIDATE", help="Let it judge beside ([nodes].candidate)."),
    ] = "",
) -> None:
    """Hear the configured sources until it is stopped (SIGTERM); SIGHUP loads dictionary and rules anew."""
    given = settings(config)
    if shadow:
        given = given.model_copy(update={"nodes": given.nodes.model_copy(update={"candidate": shadow})})
    start_log(given)
    from edge_agent import daemon

    raise typer.Exit(daemon.run(given, until_done=once))


def status(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show how the running appliance does."""
    _show(_ask(settings(config), "status"), as_json)


def reload(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Have the running appliance load dictionary and rules anew."""
    _show(_ask(settings(config), "reload"), as_json)


_Call = Annotated[str, typer.Argument(metavar="CALL|all", help="Id of a call (`status` lists them), or all.")]


def pause(
    call: _Call,
    for_: Annotated[
        str, typer.Option("--for", metavar="TIME", help="Resume by itself after 90s, 5m, 1h; else with `resume`.")
    ] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Drop the audio of a call, or of all live calls, while a card number is read out, say; who asked is recorded."""
    for_s = _seconds(for_) if for_ else None
    answer = _ask(settings(config), "pause", call=call, by=_person(), for_s=for_s)
    if as_json:
        emit(answer)
        return
    until = answer["paused"][call]["until"]
    what = "all live calls are" if call == "all" else f"{call} is"
    how = f"until {until}" if until else f"until `edge-agent resume {call}`"
    console().print(f"{what} not heard {how}", markup=False, soft_wrap=True)


def resume(call: _Call, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Hear a call, or all calls, again."""
    answer = _ask(settings(config), "resume", call=call, by=_person())
    if as_json:
        emit(answer)
    else:
        console().print("all calls are heard" if call == "all" else f"{call} is heard again", markup=False)


def _seconds(text: str) -> float:
    import re

    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    seconds = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]] if found else 0.0
    if not 0 < seconds <= 86_400:
        raise typer.BadParameter("write a time of up to a day, such as 90s, 5m or 1h", param_hint="--for")
    return seconds


def _person() -> str:
    """Say who asks, for the record: the person behind sudo, else the user."""
    import getpass
    import os

    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def start_log(config: Config) -> None:
    """Write the log to standard error as the configuration says; ids and figures, never what was said."""
    import json
    import logging

    class AsJsonLine(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            line = {
                "time": self.formatTime(record),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": record.getMessage(),
            }
            if record.exc_info:
                line["fault"] = self.formatException(record.exc_info)
            return json.dumps(line, ensure_ascii=False)

    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(AsJsonLine() if config.log.format == "json" else plain)
    logging.basicConfig(level=config.log.level.upper(), handlers=[handler], force=True)


def _ask(config: Config, question: str, **details: str | float | None) -> dict[str, Any]:
    from edge_agent import control, paths

    return control.ask(paths.under_state(config.control.socket), question, **details)


def _show(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        emit(answer)
        return
    from rich.table import Table

    table = Table(show_header=False, box=None)
    events, uplink, latency = answer["events"], answer["uplink"], answer["latency_ms"]
    rows = {
        "site": f"{answer['site']}, version {answer['version']}, since {answer['started_at']}",
        **{f"source {source['name']}": _source_line(source) for source in answer["sources"]},
        "calls": ", ".join(call["call_id"] for call in answer["calls"]) or "none",
        **({"paused": ", ".join(answer["paused"])} if answer["paused"] else {}),
        "utterances": f"{answer['utterances']} heard, {answer['waiting']} waiting",
        "recognition": _recognition_line(answer),
        "latency": f"p50 {latency['p50']} ms, p95 {latency['p95']} ms" if latency else "no event yet",
        "events": f"{events['stored']} stored, {events['acknowledged']} acknowledged, {events['waiting']} waiting,"
        f" {events['rejected']} rejected",
        "head office": _uplink_line(uplink),
        "model": answer["model"],
        "dictionary": answer["dictionary"],
        "rules": answer["rules"],
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console().print(table)


def _source_line(source: dict[str, Any]) -> str:
    return ("" if source["ok"] else "! ") + f"{source['kind']}: {source['state']}"


def _recognition_line(answer: dict[str, Any]) -> str:
    load = answer["recognition"]
    lag_ms = max((lag for call in answer["calls"] for lag in call["lag_ms"]), default=0)
    behind = "" if load["step"] == "none" else f", behind ({load['step'].replace('_', ' ')})"
    spool = f", {load['in_spool']} of {load['spooled']} on disk" if load["spooled"] else ""
    refused = f", {load['refused_calls']} calls refused" if load["refused_calls"] else ""
    return f"{load['workers']} workers, lag {lag_ms} ms{behind}{spool}{refused}"


def _uplink_line(uplink: dict[str, Any] | None) -> str:
    if uplink is None:
        return "not configured ([uplink].hub is empty): events wait here"
    state = "connected" if uplink["connected"] else "not connected"
    why = f" ({uplink['last_error']})" if uplink["last_error"] and not uplink["connected"] else ""
    key = ""
    if uplink["connected"] and uplink["hub_key_from"] not in ("", "hub_key"):
        key = f"; the hub has its next key: put hub_key = '{uplink['hub_key']}' into [uplink]"
    return f"{uplink['hub']}: {state}{why}{key}"
