"""What docs/sources.md shows is right: its settings are settings, its side-car is read."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edge_agent.audio.metadata import Metadata, read_sidecar
from edge_agent.config import Config
from edge_agent.types import Speaker
from tests.conftest import TOP

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (TOP / "docs/sources.md").read_text(encoding="utf-8")


def test_the_settings_are_settings() -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    kinds = {Config.model_validate(tomllib.loads(block)).sources[0].kind.value for block in blocks}
    assert kinds == {"watch", "rtp", "device"}
    for name in re.findall(r"`(\w+_s|\w+_ms|quarantine|payloads|senders|second_device)`", PAGE):
        assert name in type(Config.model_validate(tomllib.loads(blocks[0])).sources[0]).model_fields, name


def test_the_side_car_is_read(tmp_path: Path) -> None:
    (shown,) = re.findall(r"^ *```json\n(.*?)^ *```", PAGE, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "call.json"
    path.write_text(shown, encoding="utf-8")
    started_at = datetime(2026, 1, 5, 1, 12, 44, tzinfo=UTC)
    assert read_sidecar(path, Metadata()) == Metadata(
        "crm-4711", "10086", started_at, (Speaker.AGENT, Speaker.CUSTOMER)
    )
