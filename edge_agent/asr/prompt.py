"""The prompt slot: hotwords before the transcript begins, in as many tokens whatever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SEPARATOR = "、"


def slot(
    tokenizer: Any, terms: Sequence[str], length: int, knows: Callable[[Sequence[int]], bool] = lambda _: True
) -> list[int]:
    """Return the `length` tokens that stand before `<|startoftranscript|>`, or none at all if no term fits.

    `<|startofprev|>`, blanks as padding, then the terms, joined by `SEPARATOR` and right-aligned, so that they end
    where the transcript begins, and it begins at the same index for all. The first terms are the most important: the
    first that does not fit, and those after it, are left out whole; so is one with tokens that the model does not
    know. A model must be taught with this very layout.
    """
    told: list[str] = []
    words: list[int] = []
    for term in filter(None, map(str.strip, terms)):
        longer = tokenizer.encode(" " + SEPARATOR.join([*told, term]))
        # A term that spells one of Whisper's own tokens (`<|zh|>`) would command the decoder.
        if max(longer) >= tokenizer.eot or not knows(longer):
            continue
        if len(longer) >= length:
            break
        told.append(term)
        words = longer
    if not words:
        return []
    (blank,) = tokenizer.encode(" ")
    return [tokenizer.sot_prev, *[blank] * (length - 1 - len(words)), *words]
