"""A small neural network beside the linear model: it reads a turn and the turns before it in order.

Characters go through gated convolutions (Dauphin et al. 2017) and self-attention with relative positions (Vaswani et
al. 2017; Shaw et al. 2018); each node and signal looks at the characters of the turn with an attention of its own
(Mullenbach et al. 2018). It was pretrained by guessing masked characters (Devlin et al. 2019) of text that the project
made, and then taught the same examples and calls as the linear model (`scripts/train_encoder`). That takes an hour, so
retraining at a branch leaves it as it is, and adds its scores to those of the linear model that was trained anew.

It is kept as an ONNX file within the classifier's, and run by onnxruntime on one thread.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.types import Speaker

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

FORMAT = 1
BACK = 3
"""How many earlier turns it is told."""
MOST, MOST_BEFORE, MOST_AFTER = 96, 40, 40
"""How many characters it reads: the first of the turn, the last of what was said before, the first of the reply."""
ABOUT = "encoder"
"""Name of what the file says about itself, as JSON: format, characters, names of what it judges, of where a call is."""
UNKNOWN_CHARACTER, START, END, FIRST = 2, 3, 4, 5
_SAYS = {Speaker.AGENT: 1, Speaker.CUSTOMER: 2, Speaker.UNKNOWN: 3}
_SAID = {Speaker.AGENT: 4, Speaker.CUSTOMER: 5, Speaker.UNKNOWN: 6}
_REPLIES = 7


def rows(
    text: str, speaker: Speaker, turns: Sequence[tuple[Speaker, str]], characters: dict[str, int], reply: str = ""
) -> tuple[list[int], list[int]]:
    """Return a turn, the reply if known, and what was said before, as numbers of characters, and who says each.

    The reply is for training alone: with it half of the time the network learns what a turn meant to who answered.
    """
    said = [characters.get(char, UNKNOWN_CHARACTER) for char in text[:MOST]]
    here = _SAYS[speaker]
    before: list[int] = []
    who: list[int] = []
    room = MOST_BEFORE
    for other, words in reversed(turns[-BACK:]):
        if room <= 2:
            break
        part = [*(characters.get(char, UNKNOWN_CHARACTER) for char in words[-(room - 1) :]), END]
        before, who = part + before, [_SAID[other]] * len(part) + who
        room -= len(part)
    after = [*(characters.get(char, UNKNOWN_CHARACTER) for char in reply[:MOST_AFTER]), END] if reply else []
    return [START, *said, END, *after, *before], [here] * (len(said) + 2) + [_REPLIES] * len(after) + who


class Encoder:
    """The network, ready to judge; never changed, safe to share between threads."""

    def __init__(self, model: bytes) -> None:
        """Open a model.

        Raises:
            ValueError: it is damaged, or of another version.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.model = model
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            self._about: dict[str, Any] = json.loads(self._session.get_modelmeta().custom_metadata_map[ABOUT])
        except Exception as error:  # onnxruntime's own errors have no common name
            raise ValueError(f"the encoder in it can't be opened: {type(error).__name__}") from error
        if self._about["format"] != FORMAT:
            raise ValueError(f"encoder of format {self._about['format']}, this program reads {FORMAT}")

    @property
    def names(self) -> tuple[str, ...]:
        """The nodes and signals that it judges, in the order of its scores."""
        return tuple(self._about["names"])

    @cached_property
    def _characters(self) -> dict[str, int]:
        return {char: number for number, char in enumerate(self._about["characters"], FIRST)}

    @cached_property
    def _standing(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self._about["standing"], 1)}

    def scores(
        self,
        text: str,
        speaker: Speaker,
        turns: Sequence[tuple[Speaker, str]],
        standing: Iterable[str],
    ) -> NDArray[np.float32]:
        """Return the logarithms of the odds of what it judges, of shape (names,).

        Args:
            text: what the turn has said so far.
            speaker: who speaks.
            turns: who said what before, the last three turns, the latest last.
            standing: where the call stands (`edge_agent.nodes.features.standing`).
        """
        characters, says = rows(text, speaker, turns, self._characters)
        where = sorted(self._standing[name] for name in standing if name in self._standing) or [0]
        given = {"characters": characters, "segments": says, "standing": where}
        scores: NDArray[np.float32] = self._session.run(
            None, {name: np.array([numbers], dtype=np.int64) for name, numbers in given.items()}
        )[0][0]
        return scores
