"""`scripts/train_encoder`: from a handful of calls to a network that the classifier reads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edge_agent.nodes.encoder import Encoder
from edge_agent.types import Speaker
from tests.conftest import TOP

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("torch", reason="torch is only for training (scripts/train_recognizer/setup-env)")
pytest.importorskip("onnx", reason="onnx is only for training (scripts/train_recognizer/setup-env)")


def test_it_pretrains_teaches_and_exports_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    nodes = tmp_path / "nodes"
    for name in ("calls", "further"):
        (nodes / name).mkdir(parents=True)
    calls = (TOP / "dictionaries/nodes/calls/extra.txt").read_text(encoding="utf-8").split("\n\n")
    (nodes / "calls/few.txt").write_text("\n\n".join(calls[:4]) + "\n", encoding="utf-8")
    (nodes / "further/few.txt").write_text("\n\n".join(calls[4:6]) + "\n", encoding="utf-8")
    held = (TOP / "dictionaries/nodes/held.jsonl").read_text(encoding="utf-8").splitlines()[:2]
    (nodes / "held.jsonl").write_text("\n".join(held) + "\n", encoding="utf-8")
    shutil.copy(TOP / "dictionaries/nodes/concepts.txt", nodes)
    out = tmp_path / "encoder.onnx"

    def train(epochs: int) -> str:
        command = [sys.executable, str(TOP / "scripts/train_encoder"), str(tmp_path / "work"), "--folder", str(nodes)]
        command += ["--minutes", "0.02", "--epochs", str(epochs), "--out", str(out)]
        told = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ, check=False)
        assert told.returncode == 0, told.stderr
        return told.stdout

    assert "epoch 1" in train(1)
    second = train(2)
    assert "epoch 2" in second
    assert "epoch 1" not in second
    encoder = Encoder(out.read_bytes())
    assert encoder.scores("太贵了。", Speaker.CUSTOMER, [(Speaker.AGENT, "三千块。")], {"quiet"}).shape == (
        len(encoder.names),
    )
