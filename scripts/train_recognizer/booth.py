"""What tuning has spoken: tests, recordings for other trainers, and the site's own recordings as training speech.

espeak-ng crashes now and then, so it runs in processes that may die; what they had written counts.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from train_recognizer import shards
from train_recognizer.channel import RATE_HZ, Channel, Line
from train_recognizer.features import FRAMES_PER_SECOND, log_mel
from train_recognizer.people import decode
from train_recognizer.studio import Studio, lines
from train_recognizer.units import units

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_agent.cli.clips import Clip
    from train_recognizer.grammar import Sentence

TRIES = 3
OLD_CLIPS = 50
"""Clips of each set of the old test."""
AT_ONCE = 500
"""Recordings that one process makes."""
LEAD_S = 0.2
LONGEST_S = 28.0


def in_child(work: Callable[[int], None]) -> bool:
    """Run something in a process of its own, with another seed again if it crashes; return whether it ended well."""
    return any(_child(work, seed) for seed in range(TRIES))


def _child(work: Callable[[int], None], number: int) -> bool:
    def quietly() -> None:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            work(number)

    process = multiprocessing.get_context("fork").Process(target=quietly)
    process.start()
    process.join()
    return process.exitcode == 0


def speak_tests(folder: Path, new: Sequence[Sentence], own: Sequence[Clip], old: bool = True) -> bool:
    """Speak the sentences with new terms, and some of what the evaluation holds, in voices that training never uses.

    The site's `own` recordings are copied there. Returns whether it was done.
    """

    def speak(seed: int) -> None:
        studio = Studio(folder, seed)
        for sentence in new:
            speech = studio.say(sentence.text)
            studio.add("terms", studio.wide(speech), sentence.text, terms=sentence.terms[:1])
            studio.add("terms_telephone", studio.telephone(speech), sentence.text, terms=sentence.terms[:1])
        for name in ("template", "free") if old else ():
            written = lines(f"{name}.txt")
            for text in written[:: max(1, len(written) // OLD_CLIPS)][:OLD_CLIPS]:
                studio.add(name, studio.wide(studio.say(text)), text)
        studio.write()

    if not in_child(speak):
        return False
    rows = []
    for number, clip in enumerate(own):
        name = f"own-{number:03}{clip.audio.suffix}"
        shutil.copy(clip.audio, folder / name)
        rows.append({"audio": name, "text": clip.text, "set": "own", "terms": clip.terms})
    if rows:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "own.jsonl").write_text(text, encoding="utf-8")
    return True


def recordings(sentences: Sequence[Sentence], site: Sequence[Clip], folder: Path) -> list[dict[str, Any]]:
    """Speak sentences in training's voices and channels, as WAV at 16 kHz, and list them in `metadata.jsonl`.

    The site's own recordings are added as they are. A line is `{"file_name", "text", "seconds"}`, as
    `datasets.load_dataset("audiofolder")` reads it.
    """
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    listed = folder / "metadata.jsonl"
    listed.unlink(missing_ok=True)

    def speak(start: int) -> None:
        studio = Studio(folder, start)
        voices = studio.espeak.training_variants()
        with listed.open("a", encoding="utf-8", buffering=1) as stream:
            for number, sentence in enumerate(sentences[start : start + AT_ONCE], start):
                speech = studio.say(sentence.text, studio.random.choice(voices))
                if not speech.any():
                    continue
                file = f"wav/{number:05}.wav"
                samples = studio.line.carry(speech, Channel.draw(studio.rs))
                soundfile.write(folder / file, samples, RATE_HZ, subtype="PCM_16")
                row = {"file_name": file, "text": sentence.text, "seconds": round(len(samples) / RATE_HZ, 2)}
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")

    for start in range(0, len(sentences), AT_ONCE):
        _child(speak, start)
    with listed.open("a", encoding="utf-8") as stream:
        for number, clip in enumerate(site):
            samples = decode(clip.audio)
            if not 0 < len(samples) <= LONGEST_S * RATE_HZ:
                continue
            file = f"wav/site-{number:05}.wav"
            soundfile.write(folder / file, samples, RATE_HZ, subtype="PCM_16")
            row = {"file_name": file, "text": clip.text, "seconds": round(len(samples) / RATE_HZ, 2)}
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    return [json.loads(line) for line in listed.read_text(encoding="utf-8").splitlines()]


def shard(clips: Sequence[Clip], path: Path, times: int) -> tuple[int, list[str]]:
    """Write recordings as a shard of training speech, each so many times, every time with another level and tilt.

    Returns how many were taken, and the names of those that are too long to be learned from whole.
    """
    rs = np.random.default_rng(1)
    line = Line(rs)
    writer = shards.Writer(path)
    taken, too_long = 0, []
    for clip in clips:
        speech = decode(clip.audio)
        if not speech.any():
            continue
        if len(speech) > LONGEST_S * RATE_HZ:
            too_long.append(clip.name)
            continue
        taken += 1
        for _ in range(times):
            energies = log_mel(line.carry(speech, Channel(), lead_s=LEAD_S, trail_s=LEAD_S))
            start = int(LEAD_S * FRAMES_PER_SECOND)
            end = len(energies) - start
            spoken = shards.Utterance(
                clip.text, clip.terms, tuple(units(clip.text)), start, end, energies.astype(np.float16)
            )
            writer.add(spoken, voice="site")
    writer.close()
    return taken, too_long
