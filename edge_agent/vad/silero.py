"""How probable speech is, window by window: silero v6, carried along the stream of one channel.

The network is the ONNX file that comes with the faster-whisper wheel (silero-vad v6, https://github.com/snakers4/silero-vad,
MIT). It judges 512 samples with the 64 before them and keeps an LSTM's state; carried as here, any division of the
stream into pieces gives the result of the whole.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from edge_agent.errors import SetupError

if TYPE_CHECKING:
    from edge_agent.types import Samples

WINDOW = 512
CONTEXT = 64
STATE = (1, 1, 128)
ASSET = Path("assets", "silero_vad_v6.onnx")


def asset() -> Path:
    """Find the network in the faster-whisper wheel, without importing it.

    Raises:
        SetupError: the wheel or the file in it is missing.
    """
    spec = find_spec("faster_whisper")
    places = [Path(place) / ASSET for place in (spec.submodule_search_locations or [])] if spec else []
    for path in places:
        if path.is_file():
            return path
    raise SetupError(
        "the voice activity model is missing",
        where=str(places[0]) if places else f"faster_whisper/{ASSET}",
        remedy="install faster-whisper 1.2.1 or later again: pip install --force-reinstall --no-deps faster-whisper",
    )


@cache
def session(path: Path) -> Any:
    """Load the network once for all channels; it keeps no state and may be run from several threads.

    Raises:
        SetupError: the file is damaged or another model.
    """
    options = onnxruntime.SessionOptions()
    # One window is too little work to share out, and idle threads would spin.
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own that share no base
        raise SetupError(
            "the voice activity model can't be loaded",
            where=str(path),
            remedy="install faster-whisper again: pip install --force-reinstall --no-deps faster-whisper",
        ) from error


class Silero:
    """The judge of one channel: remembers its state, its context and the samples of an unfinished window.

    Args:
        path: the network; None takes the one of the faster-whisper wheel.

    Raises:
        SetupError: the network is missing or damaged.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._session = session(path or asset())
        self.reset()

    def reset(self) -> None:
        """Forget everything, as at the beginning of a call."""
        self._h = np.zeros(STATE, np.float32)
        self._c = np.zeros(STATE, np.float32)
        self._context = np.zeros(CONTEXT, np.float32)
        self._rest = np.zeros(0, np.float32)

    def feed(self, samples: Samples) -> Samples:
        """Judge every window that is complete now.

        Args:
            samples: float32 of shape (n,) at 16 kHz, n ≥ 0; neither changed nor kept.

        Returns:
            Probabilities of speech in 0…1, float32, one for each window of 512 samples completed, in order.
        """
        audio = np.concatenate([self._context, self._rest, samples])
        count = (len(audio) - CONTEXT) // WINDOW
        self._rest = audio[CONTEXT + count * WINDOW :]
        if not count:
            return np.zeros(0, np.float32)
        self._context = audio[count * WINDOW : count * WINDOW + CONTEXT]
        windows = np.stack([audio[at : at + CONTEXT + WINDOW] for at in range(0, count * WINDOW, WINDOW)])
        probabilities, self._h, self._c = self._session.run(None, {"input": windows, "h": self._h, "c": self._c})
        return np.asarray(probabilities, np.float32)

    def finish(self) -> Samples:
        """Judge the unfinished window, filled up with zeros, and reset; returns one probability or none."""
        left = len(self._rest)
        last = self.feed(np.zeros(WINDOW - left, np.float32)) if left else np.zeros(0, np.float32)
        self.reset()
        return last
