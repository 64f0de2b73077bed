"""`run`, `status`, `reload`: the appliance at work, and how it does."""

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


def run(
    config: ConfigFile = None,
    once: Annotated[bool, typer.Option("--once", help="End when every source has been heard.")] = False,
) -> None:
    """Hear the configured sources until it is stopped (SIGTERM); SIGHUP loads dictionary and rules anew."""
    given = settings(config)
    start_log(given)
    from edge_agent import daemon

    raise typer.Exit(daemon.run(given, until_done=once))


def status(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show how the running appliance does."""
    _show(_ask(settings(config), "status"), as_json)


def reload(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Have the running appliance load dictionary and rules anew."""
    _show(_ask(settings(config), "reload"), as_json)


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


def _ask(config: Config, question: str) -> dict[str, Any]:
    from edge_agent import control, paths

    return control.ask(paths.under_state(config.control.socket), question)


def _show(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        emit(answer)
        return
    from rich.table import Table

    table = Table(show_header=False, box=None)
    events, uplink, latency = answer["events"], answer["uplink"], answer["latency_ms"]
    rows = {
        "site": f"{answer['site']}, version {answer['version']}, since {answer['started_at']}",
        "calls": ", ".join(call["call_id"] for call in answer["calls"]) or "none",
        "utterances": f"{answer['utterances']} heard, {answer['waiting']} waiting",
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


def _uplink_line(uplink: dict[str, Any] | None) -> str:
    if uplink is None:
        return "not configured ([uplink].hub is empty): events wait here"
    state = "connected" if uplink["connected"] else "not connected"
    why = f" ({uplink['last_error']})" if uplink["last_error"] and not uplink["connected"] else ""
    return f"{uplink['hub']}: {state}{why}"
