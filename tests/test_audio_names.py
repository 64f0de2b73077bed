"""Two devices of the same make are told apart, and keep their ids when others come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge_agent.audio.capture import find, identify

if TYPE_CHECKING:
    from pathlib import Path

PCI = "devices/pci0000:00"


def plug(root: Path, card: int, place: str) -> None:
    """Make what sysfs shows of a card: a link from its class to the device it is."""
    device = root / place
    device.mkdir(parents=True, exist_ok=True)
    link = root / "class" / f"card{card}" / "device"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(device)


def test_two_of_the_same_make_are_known_by_their_sockets(tmp_path: Path) -> None:
    usb = f"{PCI}/0000:00:14.0/usb1"
    plug(tmp_path, 0, f"{PCI}/0000:00:1f.3")
    plug(tmp_path, 1, f"{usb}/1-2/1-2:1.0")
    plug(tmp_path, 2, f"{usb}/1-3/1-3.1/1-3.1:1.0")
    names = ["HDA Intel: Analog (hw:0,0)", "USB Audio: - (hw:1,0)", "USB Audio: - (hw:2,0)", "pulse"]
    assert identify(names, tmp_path / "class") == ["pci:0000:00:1f.3,0", "usb:1-2,0", "usb:1-3.1,0", "pulse"]

    # After a restart the cards are numbered the other way round.
    other = tmp_path / "other"
    plug(other, 1, f"{usb}/1-3/1-3.1/1-3.1:1.0")
    plug(other, 2, f"{usb}/1-2/1-2:1.0")
    assert identify(["USB Audio: - (hw:1,0)", "USB Audio: - (hw:2,0)"], other / "class") == ["usb:1-3.1,0", "usb:1-2,0"]


def test_where_no_socket_tells_them_apart_they_are_numbered(tmp_path: Path) -> None:
    assert identify(["Mic (hw:0,0)", "Mic (hw:1,0)", "default"], tmp_path) == ["Mic", "Mic#2", "default"]


class Sound:
    """Stands for PortAudio where there are two devices of one name."""

    class default:  # noqa: N801
        device = (1, 1)

    @staticmethod
    def query_devices(number: int | None = None) -> object:
        every = [
            {"index": index, "name": name, "max_input_channels": 2}
            for index, name in enumerate(["USB Audio (hw:7,0)", "USB Audio (hw:8,0)", "Line In"])
        ]
        return every if number is None else every[number]


def test_a_device_is_found_by_id_name_or_part_of_it() -> None:
    assert find(Sound, "USB Audio#2")[0] == 1
    assert find(Sound, "line")[0] == 2
    assert find(Sound, "")[0] == 1
    with pytest.raises(LookupError, match=r"several devices.*USB Audio, USB Audio#2"):
        find(Sound, "usb")
    with pytest.raises(LookupError, match="no device Studio"):
        find(Sound, "Studio")
