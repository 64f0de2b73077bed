"""Live calls that are none, for scripts/bench and scripts/soak: recordings played as telephones would deliver them."""

from __future__ import annotations

import heapq
import json
import os
import queue
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_agent.types import SAMPLE_RATE_HZ, Call, Chunk, Speaker
from edge_agent.vad.endpoint import TAIL_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from edge_agent.config import Config
    from edge_agent.pipeline import Outcome

TOP = Path(__file__).resolve().parent.parent
CALLS = [TOP / "edge_agent/data/demo.opus", *sorted((TOP / "tests/data/calls").glob("*.opus"))]
CHUNK = SAMPLE_RATE_HZ // 50
RECORDED = SAMPLE_RATE_HZ // 10
"""A recording comes in larger pieces than a live call, from `edge_agent.rooms` too."""
CONTEXTS = (10, 6)
"""Seconds of context at which models of real geometry are measured, for utterances of five seconds."""
FIRST = 3.0
"""Latencies of the first seconds are left out: everything is cold."""


@cache
def talk() -> NDArray[np.float32]:
    """Return the shipped calls as one channel, both parties mixed: somebody talks nearly all the time."""
    from edge_agent.audio.file import FileSource

    parts = []
    for path in CALLS:
        parts += [item.samples.sum(axis=0) for item in FileSource(path, chunk_ms=100) if isinstance(item, Chunk)]
    mixed: NDArray[np.float32] = np.clip(np.concatenate(parts), -1, 1).astype(np.float32)
    return mixed


class Phone:
    """A live `Source` of one channel: plays `seconds` of talk from a place of its own, `speed` times as fast as life.

    Without a `speed` it isn't live but delivers as fast as it is taken. `size` counts the samples of a chunk.
    """

    def __init__(
        self, number: int, seconds: float, speed: float | None = 1.0, *, name: str = "", size: int = CHUNK
    ) -> None:
        self.call = Call(name or f"phone-{number}", "bench", datetime.now(UTC), (Speaker.UNKNOWN,))
        self.live = speed is not None
        self._speed = speed
        self._size = size
        self._length = int(seconds * SAMPLE_RATE_HZ)
        self._first = number * 7_919 * CHUNK // 10
        self._stop = threading.Event()

    def __iter__(self) -> Iterator[Chunk]:
        audio = talk()
        began = time.monotonic() + 0.05 * (self._first % 17)
        size = self._size
        for start in range(0, self._length, size):
            if self._speed:
                self._stop.wait(began + (start + size) / SAMPLE_RATE_HZ / self._speed - time.monotonic())
            if self._stop.is_set():
                return
            at = (self._first + start) % (len(audio) - size)
            yield Chunk(start, audio[None, at : at + size])

    def close(self) -> None:
        self._stop.set()


@dataclass
class Heard:
    """What came of a run: seconds from the end of speech to the result, and what it cost."""

    latencies: list[float] = field(default_factory=list)
    forced: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    load: dict[str, Any] = field(default_factory=dict)

    def quantile(self, part: int) -> float:
        """Return a quantile in seconds; infinite if nothing came."""
        seen = sorted(self.latencies)
        return seen[min(len(seen) - 1, len(seen) * part // 100)] if seen else float("inf")

    def note(self, heard_at: float, began: float, *, forced: bool) -> None:
        """Note a result. `heard_at` is when the utterance's last sample came, which is `TAIL_MS` after its speech."""
        now = time.monotonic()
        if forced:  # nobody stopped speaking
            self.forced += 1
        elif now - began > FIRST:
            self.latencies.append(now - heard_at + TAIL_MS / 1000)


def config(folder: Path, *, workers: int, model: str = "") -> Config:
    """Return settings of an appliance that keeps everything in `folder`."""
    from edge_agent.config import Config, Hear, Model, Site, Store

    return Config(
        site=Site(id="bench"),
        store=Store(database=str(folder / "branch.db")),
        hear=Hear(spool=str(folder / "spool")),
        model=Model(workers=workers, path=model),
    )


def appliance(calls: int, seconds: float, *, workers: int) -> Heard:
    """Let the whole appliance hear so many live calls, up to the committed transaction."""
    from edge_agent.daemon import Appliance
    from edge_agent.hearing import Spoken

    talk()
    heard = Heard()
    with tempfile.TemporaryDirectory() as name:
        started = threading.Event()
        began = time.monotonic()

        def observe(outcome: Outcome) -> None:
            if isinstance(outcome.item, Spoken):
                heard.note(outcome.item.heard_at, began, forced=outcome.item.utterance.forced)

        whole = Appliance(config(Path(name), workers=workers), observe=observe)
        try:
            whole.start()
            began, cpu = time.monotonic(), time.process_time()
            started.set()
            for number in range(calls):
                whole.attach(Phone(number, seconds))
            whole.finish()
            heard.wall_s, heard.cpu_s = time.monotonic() - began, time.process_time() - cpu
            heard.load = whole.status()["recognition"]
        finally:
            whole.close()
    return heard


def stock(calls: int, seconds: float, *, batched: bool, threads: int) -> Heard:
    """Let faster-whisper hear the same calls, cut by the same endpointing: what one would build around it.

    Each utterance is transcribed when its turn comes; `batched` gives those that wait to the batched pipeline together.
    """
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    from edge_agent import rooms
    from edge_agent.config import Config
    from edge_agent.vad import Segmenter

    model = WhisperModel(str(rooms.model_folder(Config())), device="cpu", compute_type="int8", cpu_threads=threads)
    pipeline = BatchedInferencePipeline(model)
    talk()
    heard, waiting = Heard(), queue.Queue[Any]()
    how: dict[str, Any] = {"language": "zh", "beam_size": 5, "temperature": 0.0, "without_timestamps": True}

    def listen(phone: Phone) -> None:
        segmenter, delivered = Segmenter(phone.call), {0: time.monotonic()}
        for chunk in phone:
            end_ms = (chunk.start + CHUNK) // 16
            delivered[end_ms] = time.monotonic()
            for one in segmenter.feed(chunk):
                waiting.put((one, delivered[-(-one.end_ms // 20) * 20]))
        waiting.put(None)

    began, cpu = time.monotonic(), time.process_time()
    listeners = [threading.Thread(target=listen, args=(Phone(number, seconds),)) for number in range(calls)]
    for listener in listeners:
        listener.start()
    ended = 0
    while ended < calls:
        items = [waiting.get()]
        while batched and len(items) < 8 and not waiting.empty():
            items.append(waiting.get())
        ended += items.count(None)
        spoken = [item for item in items if item is not None]
        if time.monotonic() - began > 2 * seconds:
            continue  # hopelessly behind: what is left is not recognized, and the figure is bad enough
        if batched and spoken:
            edges = np.cumsum([0, *(len(one.samples) for one, _ in spoken)]) / SAMPLE_RATE_HZ
            clips = [{"start": float(a), "end": float(b)} for a, b in pairwise(edges)]
            audio = np.concatenate([one.samples for one, _ in spoken])
            list(pipeline.transcribe(audio, clip_timestamps=clips, vad_filter=False, batch_size=8, **how)[0])
        for one, heard_at in spoken:
            if not batched:
                list(model.transcribe(one.samples, **how)[0])
            heard.note(heard_at, began, forced=one.forced)
    for listener in listeners:
        listener.join()
    heard.wall_s, heard.cpu_s = time.monotonic() - began, time.process_time() - cpu
    return heard


class OneCore:
    """Live calls heard on one core by the processor's clock: what the same work would do on a core of its own.

    On a machine that others use too, the clock on the wall says little. Here time passes as the process computes, and
    jumps to the next chunk of audio when there is nothing to do. Everything is done for real and in its order: the
    voice activity of every channel, the appliance's own scheduler and ladder, the model, the judging, the transaction.
    """

    def __init__(self, calls: int, seconds: float) -> None:
        from edge_agent.vad import Segmenter

        self.heard = Heard()
        self.now = 0.0
        self._phones = [Phone(number, seconds, None) for number in range(calls)]
        self._offsets = [0.37 * number % 5 for number in range(calls)]
        self._segmenters = [Segmenter(phone.call) for phone in self._phones]
        self._audio = [iter(phone) for phone in self._phones]
        self._arrivals: list[tuple[float, int]] = [(offset + 0.02, n) for n, offset in enumerate(self._offsets)]
        heapq.heapify(self._arrivals)

    def work(self, what: Callable[[], Any]) -> Any:
        """Do something, and let as much time pass as the processor spent on it."""
        began = time.process_time()
        came = what()
        spent = time.process_time() - began
        self.now += spent
        self.heard.cpu_s += spent
        return came

    def listen(self) -> Iterator[tuple[int, Any, bool]]:
        """Take in the audio that has come by now; yields call, utterance and whether it is but a guess."""
        while self._arrivals and self._arrivals[0][0] <= self.now:
            at, number = heapq.heappop(self._arrivals)
            chunk = next(self._audio[number], None)
            segmenter = self._segmenters[number]
            found = self.work(segmenter.flush if chunk is None else partial(segmenter.feed, chunk))
            yield from ((number, utterance, False) for utterance in found)
            if chunk is not None:
                yield from ((number, guess, True) for guess in segmenter.guesses().values())
                heapq.heappush(self._arrivals, (at + CHUNK / SAMPLE_RATE_HZ, number))

    def wait(self, due_in_s: float | None) -> bool:
        """Let time pass until something comes or is due; False if nothing ever will."""
        moments = [self._arrivals[0][0]] if self._arrivals else []
        moments += [] if due_in_s is None else [self.now + due_in_s + 1e-4]
        if not moments:
            return False
        self.now = max(self.now, min(moments))
        return True

    def done(self, number: int, utterance: Any) -> None:
        """Note how long after the end of speech this is."""
        if utterance.forced:
            self.heard.forced += 1
        elif self.now > FIRST:
            said = self._offsets[number] + (utterance.end_ms - TAIL_MS) / 1000
            self.heard.latencies.append(self.now - said)


def on_one_core(calls: int, seconds: float) -> Heard:
    """Let this appliance hear live calls on one core, by the processor's clock."""
    from edge_agent import event, rooms
    from edge_agent.asr.filters import believed
    from edge_agent.asr.relief import LARGER, Ladder, Step
    from edge_agent.asr.scheduler import Job, Scheduler
    from edge_agent.pipeline import Conversation
    from edge_agent.store import Store
    from edge_agent.types import Versions

    talk()
    core, scheduler, ladder = OneCore(calls, seconds), Scheduler(), Ladder()
    worst = Step.NONE
    counts = {"batches": 0, "utterances": 0, "careful": 0, "guesses": 0}
    with tempfile.TemporaryDirectory() as name, Store.open(Path(name) / "bench.db") as store:
        given = config(Path(name), workers=1)
        (desk,) = rooms.open_desks(given)
        knowledge = rooms.open_knowledge(given)
        # As the appliance does before its first call.
        knowledge.prepare()
        desk.heed(lambda: knowledge.dictionary)
        conversations = [Conversation(phone.call, knowledge) for phone in core._phones]
        store.keep(calls=[phone.call for phone in core._phones])
        desk.careful.transcribe([talk()[:32_000]])
        jobs: dict[int, tuple[int, Any]] = {}
        guesses: dict[int, tuple[int, Any, Any]] = {}  # of each call: key, utterance, hypothesis once it is there

        def judge(number: int, utterance: Any, hypothesis: Any) -> None:
            kept = believed(hypothesis, voiced_ms=utterance.voiced_ms)
            if kept.text:
                transcript, findings = conversations[number].hear(utterance, kept, knowledge.dictionary)
                events = [event.node_event("bench", conversations[number].call, one, Versions()) for one in findings]
                store.keep(transcripts=[transcript], events=events)

        key = 0
        while True:
            for number, utterance, guess in core.listen():
                key += 1
                before = guesses.get(number)
                if guess:
                    if before is not None and scheduler.remove(before[0]):
                        del jobs[before[0]]
                    guesses.pop(number, None)
                    if utterance is None or ladder.step >= Step.NO_GUESSES:
                        continue
                    guesses[number] = (key, utterance, None)
                elif before is not None and before[1].end_ms == utterance.end_ms:
                    del guesses[number]
                    if before[2] is not None:
                        hypothesis = before[2]
                        core.work(partial(judge, number, utterance, hypothesis))
                        core.done(number, utterance)
                        continue
                    if scheduler.confirm(before[0], core.now + 1, core.now):
                        continue
                bucket = next(b for b in desk.careful.buckets if len(utterance.samples) <= b * SAMPLE_RATE_HZ)
                scheduler.add(Job(key, str(number), bucket, core.now + 1, core.now, guess))
                jobs[key] = (number, utterance)
            step = ladder.update(core.now, scheduler.waited_s(core.now))
            worst = max(worst, step)
            if step >= Step.NO_GUESSES:
                for dropped in scheduler.drop_guesses():
                    del jobs[dropped]
            batch = scheduler.batch * (LARGER if step >= Step.LARGE_BATCHES else 1)
            taken = scheduler.take(core.now, batch)
            if not taken:
                if not core.wait(scheduler.due_in_s(core.now, batch)):
                    break
                continue
            chosen = [jobs.pop(job.key) for job in taken]
            samples = [utterance.samples for _, utterance in chosen]
            hypotheses = core.work(partial(desk.at(step).transcribe, samples))
            counts["batches"] += 1
            counts["utterances"] += len(taken)
            counts["careful"] += len(taken) if step < Step.BEAM_ONE else 0
            counts["guesses"] += sum(job.guess for job in taken)
            for job, (number, utterance), hypothesis in zip(taken, chosen, hypotheses, strict=True):
                if job.guess:
                    if number in guesses and guesses[number][0] == job.key:
                        guesses[number] = (job.key, utterance, hypothesis)
                    continue
                core.work(partial(judge, number, utterance, hypothesis))
                core.done(number, utterance)
    core.heard.wall_s = core.now
    core.heard.load = {
        "step": worst.name.lower(),
        "batch": counts["utterances"] / max(1, counts["batches"]),
        "careful": counts["careful"] / max(1, counts["utterances"]),
        "guesses": counts["guesses"],
    }
    return core.heard


def stock_on_one_core(calls: int, seconds: float, *, batched: bool) -> Heard:
    """Let faster-whisper hear the same calls by the same clock: each utterance in its turn, or all that wait."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    from edge_agent import rooms
    from edge_agent.config import Config

    talk()
    core = OneCore(calls, seconds)
    model = WhisperModel(str(rooms.model_folder(Config())), device="cpu", compute_type="int8", cpu_threads=1)
    pipeline = BatchedInferencePipeline(model)
    how: dict[str, Any] = {"language": "zh", "beam_size": 5, "temperature": 0.0, "without_timestamps": True}
    list(model.transcribe(talk()[:32_000], **how)[0])
    waiting: list[tuple[int, Any]] = []
    while True:
        waiting += [(number, utterance) for number, utterance, guess in core.listen() if not guess]
        if not waiting:
            if not core.wait(None):
                break
            continue
        taken = [waiting.pop(0) for _ in range(min(len(waiting), 8 if batched else 1))]
        samples = [utterance.samples for _, utterance in taken]

        def recognize(samples: list[Any] = samples) -> None:
            if not batched:
                list(model.transcribe(samples[0], **how)[0])
                return
            edges = np.cumsum([0, *map(len, samples)]) / SAMPLE_RATE_HZ
            clips = [{"start": float(a), "end": float(b)} for a, b in pairwise(edges)]
            list(
                pipeline.transcribe(
                    np.concatenate(samples), clip_timestamps=clips, vad_filter=False, batch_size=8, **how
                )[0]
            )

        core.work(recognize)
        for number, utterance in taken:
            core.done(number, utterance)
    core.heard.wall_s = core.now
    return core.heard


def apart(cores: int, what: str, *arguments: object) -> dict[str, Any]:
    """Run a measurement in a process of its own on so many cores, and return what it prints."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]

    def pin() -> None:
        os.sched_setaffinity(0, chosen)

    command = [sys.executable, __file__, what, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(TOP), "OMP_NUM_THREADS": str(cores)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, preexec_fn=pin, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def most(what: str, steps: Sequence[int], seconds: float, limit_s: float) -> tuple[int, list[dict[str, Any]]]:
    """Return the most live channels that one core hears within the limit (p95), and every run up to the first above."""
    reached, runs = 0, []
    for calls in steps:
        run = apart(1, what, calls, seconds)
        runs.append(run)
        print(
            f"       {what}: {calls} channels, p50 {run['p50']:.2f} s, p95 {run['p95']:.2f} s,"
            f" {run['cpu_s'] / run['audio_s']:.4f} s of processor for a second of call {run['load'].get('step', '')}",
            flush=True,
        )
        if run["p95"] > limit_s:
            break
        reached = calls
    return reached, runs


# ----------------------------------------------------------------------------------------- models of real geometry

GEOMETRIES = {"base": (6, 512, 8), "small": (12, 768, 12)}
"""Layers, width and heads of Whisper's encoder and decoder (Radford et al. 2022, table 1)."""


def random_whisper(folder: Path, layers: int, width: int, heads: int, like: Path) -> Path:
    """Write a Whisper of this geometry with random weights in int8; tokenizer and vocabulary are those of `like`."""
    import ctranslate2

    chance = np.random.default_rng(1)
    vocabulary = json.loads((like / "vocabulary.json").read_text(encoding="utf-8"))
    settings = json.loads((like / "config.json").read_text(encoding="utf-8"))
    spec = ctranslate2.specs.WhisperSpec(layers, heads, layers, heads)

    def weights(*shape: int) -> NDArray[np.float32]:
        return (0.02 * chance.standard_normal(shape, dtype=np.float32)).astype(np.float32)

    def norm(layer: Any) -> None:
        layer.gamma, layer.beta = np.ones(width, np.float32), np.zeros(width, np.float32)

    def linear(layer: Any, out: int, inner: int) -> None:
        layer.weight, layer.bias = weights(out, inner), np.zeros(out, np.float32)

    def attend(layer: Any, *outs: int) -> None:
        norm(layer.layer_norm)
        for one, out in zip(layer.linear, outs, strict=True):
            linear(one, out * width, width)

    def feed(layer: Any) -> None:
        norm(layer.layer_norm)
        linear(layer.linear_0, 4 * width, width)
        linear(layer.linear_1, width, 4 * width)

    encoder, decoder = spec.encoder, spec.decoder
    for conv, inner in ((encoder.conv1, 80), (encoder.conv2, width)):
        conv.weight, conv.bias = weights(width, inner, 3), np.zeros(width, np.float32)
    encoder.position_encodings.encodings = weights(1500, width)
    decoder.position_encodings.encodings = weights(448, width)
    decoder.embeddings.weight = weights(len(vocabulary), width)
    decoder.projection.weight = decoder.embeddings.weight
    for half in (encoder, decoder):
        norm(half.layer_norm)
    for layer in encoder.layer:
        attend(layer.self_attention, 3, 1)
        feed(layer.ffn)
    for layer in decoder.layer:
        attend(layer.self_attention, 3, 1)
        attend(layer.attention, 1, 2, 1)
        feed(layer.ffn)
    for key in ("suppress_ids", "suppress_ids_begin", "lang_ids"):
        setattr(spec.config, key, settings[key])
    spec.register_vocabulary(vocabulary)
    spec.validate()
    spec.optimize(quantization="int8")
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    for name in ("tokenizer.json", "preprocessor_config.json"):
        shutil.copy(like / name, folder / name)
    return folder


def geometry(folder: Path, rounds: int, *, tokens: int = 30, calls: int = 8) -> dict[str, Any]:
    """Compare what an utterance costs on a model of real geometry: ours in a batch with less context, and stock.

    Both write exactly `tokens` tokens with a beam of 5, on one thread. Random weights say nothing, but cost the same.
    """
    from dataclasses import replace

    from faster_whisper import WhisperModel

    from edge_agent.asr import Engine
    from edge_agent.asr.trim import CHINESE

    clips = [talk()[start : start + 5 * SAMPLE_RATE_HZ] for start in range(0, calls * 80_000, 80_000)]
    plain = Engine.open(folder, threads=1, tokens=CHINESE)
    # The end of text is suppressed: otherwise chance would say how long a text is. Less context, and Chinese tokens
    # alone, are what a card allows where it was shown to be safe.
    engines = {}
    for bucket_s in CONTEXTS:
        decoding = replace(plain.card.decoding, tokens_per_second=tokens // bucket_s)
        card = replace(plain.card, buckets_s=(bucket_s, 30), decoding=decoding)
        engines[bucket_s] = engine = Engine(card, plain._model, plain._tokenizer, 5)
        engine._suppress = [*engine._suppress, engine._tokenizer.eot]
    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
    ours: dict[int, list[float]] = {bucket_s: [] for bucket_s in engines}
    theirs = []
    for _ in range(rounds):
        for bucket_s, engine in engines.items():
            began = time.process_time()
            engine.transcribe(clips)
            ours[bucket_s].append((time.process_time() - began) / calls)
        began = time.process_time()
        for clip in clips[:2]:
            segments, _ = model.transcribe(
                clip,
                language="zh",
                beam_size=5,
                temperature=0.0,
                without_timestamps=True,
                max_new_tokens=tokens,
                suppress_tokens=[-1, engine._tokenizer.eot],
                no_speech_threshold=None,
                log_prob_threshold=None,
                compression_ratio_threshold=None,
                condition_on_previous_text=False,
            )
            list(segments)
        theirs.append((time.process_time() - began) / 2)
    times = {bucket_s: statistics.median(theirs) / statistics.median(costs) for bucket_s, costs in ours.items()}
    return {"ours": ours, "theirs": theirs, "times": times}


def cold_start() -> float:
    """Start the daemon with a live call, and return the seconds until it takes in the first audio."""
    from edge_agent.control import ask
    from edge_agent.errors import ControlError

    with tempfile.TemporaryDirectory() as name:
        settings = Path(name) / "config.toml"
        settings.write_text(f'[[sources]]\npath = "{CALLS[0]}"\nrealtime = true\n', encoding="utf-8")
        environment = {**os.environ, "EDGE_AGENT_STATE": name, "PYTHONPATH": str(TOP)}
        began = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "run", "-c", str(settings)], env=environment, stderr=subprocess.DEVNULL
        ) as process:
            try:
                while time.monotonic() - began < 60:
                    try:
                        if ask(Path(name) / "control.sock", "status")["calls"]:
                            return time.monotonic() - began
                    except ControlError:
                        pass
                    time.sleep(0.02)
            finally:
                process.terminate()
    raise SystemExit("the daemon took in no audio within a minute")


def main() -> None:
    what, *rest = sys.argv[1:]
    if what == "geometry":
        layers, width, heads = GEOMETRIES[rest[0]]
        with tempfile.TemporaryDirectory() as name:
            folder = random_whisper(Path(name) / rest[0], layers, width, heads, TOP / "models" / "zh-starter")
            print(json.dumps(geometry(folder, int(rest[1]))))
        return
    runs: dict[str, Callable[[int, float], Heard]] = {
        "ours": lambda calls, seconds: appliance(calls, seconds, workers=1),
        "two-cores": lambda calls, seconds: appliance(calls, seconds, workers=2),
        "ours-by-processor": on_one_core,
        "naive-by-processor": lambda calls, seconds: stock_on_one_core(calls, seconds, batched=False),
        "batched-by-processor": lambda calls, seconds: stock_on_one_core(calls, seconds, batched=True),
        "naive": lambda calls, seconds: stock(calls, seconds, batched=False, threads=1),
        "batched": lambda calls, seconds: stock(calls, seconds, batched=True, threads=1),
    }
    calls, seconds = int(rest[0]), float(rest[1])
    heard = runs[what](calls, seconds)
    print(
        json.dumps(
            {
                "calls": calls,
                "audio_s": calls * seconds,
                "utterances": len(heard.latencies) + heard.forced,
                "forced": heard.forced,
                "p50": heard.quantile(50),
                "p95": heard.quantile(95),
                "cpu_s": heard.cpu_s,
                "wall_s": heard.wall_s,
                "load": heard.load,
            }
        )
    )


if __name__ == "__main__":
    main()
