"""`devices`: which sound devices there are, and how loud it is on them now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_agent.cli.out import AsJson, console, emit

if TYPE_CHECKING:
    from edge_agent.audio.meter import Meter

_BAR = 40
_FLOOR_DBFS = -60.0


def register(app: typer.Typer) -> None:
    """Add this group's command to the front door."""
    app.command()(devices)


def devices(
    device: Annotated[list[str] | None, typer.Argument(help="Ids or names; without any, all are meant.")] = None,
    meter: Annotated[bool, typer.Option("--meter", "-m", help="Show how loud it is, until Ctrl-C.")] = False,
    seconds: Annotated[float, typer.Option("--seconds", "-s", min=0.0, help="Meter for so long.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """List the sound devices that can be heard, with the ids that [[sources]] names; with --meter, show their level."""
    from edge_agent.audio.device import list_devices
    from edge_agent.errors import AudioError

    listed = list_devices()
    if not listed:
        raise AudioError(
            "there is no sound device that records",
            where="sound",
            remedy="plug one in; a sound server (PulseAudio, PipeWire) must run as this user; see `arecord -l`",
        )
    if device:
        chosen = [each for each in listed if each["id"] in device or each["name"] in device]
        if unknown := set(device) - {name for each in chosen for name in (each["id"], each["name"])}:
            known = ", ".join(each["id"] for each in listed)
            raise AudioError("there is no such device", where=", ".join(sorted(unknown)), remedy=f"there are: {known}")
        listed = chosen
    if meter or seconds:
        _meter(listed, seconds, as_json)
    elif as_json:
        for each in listed:
            emit({"type": "device", **each})
    else:
        _table(listed)


def _table(listed: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("id", "name", "channels", "Hz", "")
    for each in listed:
        mark = "default" if each["default"] else ""
        table.add_row(each["id"], each["name"], str(each["channels"]), str(each["rate_hz"]), mark)
    console().print(table)


def _meter(listed: list[dict[str, Any]], seconds: float, as_json: bool) -> None:
    """Show a bar for each channel ten times a second, or print a line for each device."""
    from edge_agent.audio.meter import Meter

    until = time.monotonic() + seconds if seconds else float("inf")
    meters = [Meter(each["id"], min(each["channels"], 8)) for each in listed]
    screen = console()
    try:
        if as_json or not screen.is_terminal:
            while time.monotonic() < until:
                _wait(meters, min(until, time.monotonic() + 0.5))
                for one in meters:
                    _say(one, as_json)
            return
        from rich.live import Live

        with Live(console=screen, refresh_per_second=10) as live:
            while time.monotonic() < until:
                _wait(meters, min(until, time.monotonic() + 0.1))
                live.update(_bars(meters))
    except KeyboardInterrupt:
        return
    finally:
        for one in meters:
            one.close()


def _wait(meters: list[Meter], until: float) -> None:
    while time.monotonic() < until:
        for one in meters:
            one.step()
        time.sleep(0.02)


def _say(meter: Meter, as_json: bool) -> None:
    levels = meter.levels()
    if as_json:
        emit(
            {
                "type": "level",
                "id": meter.device,
                "trouble": meter.trouble,
                "channels": [
                    {"rms_dbfs": one.rms_dbfs, "peak_dbfs": one.peak_dbfs, "clipped": one.clipped} for one in levels
                ],
            }
        )
        return
    said = "  ".join(f"{one.rms_dbfs:6.1f} dBFS{' clipped' if one.clipped else ''}" for one in levels)
    typer.echo(f"{meter.device}: {meter.trouble or said}")


def _bars(meters: list[Meter]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    for meter in meters:
        if meter.trouble:
            table.add_row(meter.device, "", Text(meter.trouble, style="yellow"))
            continue
        for number, one in enumerate(meter.levels(), 1):
            filled = round(_BAR * max(0.0, one.rms_dbfs - _FLOOR_DBFS) / -_FLOOR_DBFS)
            held = min(_BAR - 1, round(_BAR * max(0.0, one.peak_dbfs - _FLOOR_DBFS) / -_FLOOR_DBFS))
            bar = Text("█" * filled + "·" * (_BAR - filled), style="red" if one.clipped else "green")
            if held >= filled:
                bar = Text.assemble(bar[:held], ("│", "yellow"), bar[held + 1 :])
            note = "clips: turn it down" if one.clipped else ""
            table.add_row(meter.device, str(number), bar, f"{one.rms_dbfs:6.1f} dBFS", note)
    return table
