"""Opens the rooms as the configuration says: the one place where settings become parts."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent import archive, paths
from edge_agent.config import Config, Source, SourceKind
from edge_agent.errors import ConfigError, DictionaryError, EdgeError
from edge_agent.packs import Packs
from edge_agent.pipeline import Knowledge, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edge_agent.asr import Card, Engine
    from edge_agent.asr.spool import Spool
    from edge_agent.asr.workers import Desk
    from edge_agent.audio import Intake
    from edge_agent.audio.file import FileSource
    from edge_agent.nodes import Classifier
    from edge_agent.terms import Dictionary
    from edge_agent.types import Speaker
    from edge_agent.uplink import Outbox, Receiver, Uplink

log = logging.getLogger(__name__)

EMBEDDED_MODEL = "zh-starter"
_FILE_CHUNK_MS = 100


def model_folder(config: Config) -> Path:
    """Return the folder of the model in use: the configured one, else what `model use` chose, else the shipped one."""
    if config.model.path:
        return Path(config.model.path)
    chosen = models_library() / "current"
    return chosen.resolve() if chosen.is_symlink() else paths.shipped() / "models" / EMBEDDED_MODEL


def models_library() -> Path:
    """Return the folder that holds the models a site brought in."""
    return paths.state() / "models"


def packs_folder(config: Config) -> Path:
    """Return the folder that holds the dictionary packs."""
    return Packs(config.dictionary).folder


def rule_files(config: Config) -> list[Path]:
    """Return the rule files in use: the common set, those of the packs, and the site's own."""
    folder = packs_folder(config)
    common = sorted((folder / "common").glob("*.yaml"))
    if not common:  # a site's own folder of packs need not repeat the common set
        common = sorted((paths.shipped() / "dictionaries" / "common").glob("*.yaml"))
    packs = [folder / pack / "rules.yaml" for pack in config.dictionary.packs]
    own = [Path(name) for name in config.nodes.rules]
    return [*common, *(path for path in packs if path.exists()), *own, *sorted(published_folder().glob("*.yaml"))]


def published_folder() -> Path:
    """Return where the rule sets lie that head office published, and the record of what was taken."""
    return paths.state() / "published"


def model_card(config: Config) -> Card:
    """Return the card of the model in use, without reading the model."""
    from edge_agent.asr import Card

    return Card.load(model_folder(config))


def open_engine(config: Config) -> Engine:
    """Open the recognizer for one thread."""
    return _open_engine(config, model_folder(config), 1)


def open_desks(config: Config) -> list[Desk]:
    """Open the recognizers of all workers: the weights once, and what stands in where recognition is behind."""
    from edge_agent.asr.workers import Desk, physical_cores

    workers = config.model.workers or max(1, physical_cores() // config.model.threads)
    careful = _open_engine(config, model_folder(config), workers)
    smaller = _open_engine(config, Path(config.model.smaller), workers) if config.model.smaller else None
    return [
        Desk(
            careful if number == 0 else careful.sharing(),
            careful.sharing(beam=1),
            careful.sharing(beam=1, rescore=False),
            smaller and smaller.sharing(beam=1, rescore=False),
        )
        for number in range(workers)
    ]


def _open_engine(config: Config, folder: Path, workers: int) -> Engine:
    from edge_agent.asr import Engine

    model = config.model
    return Engine.open(
        folder, threads=model.threads, compute_type=model.compute_type, beam=model.beam or None, workers=workers
    )


def open_spool(config: Config) -> Spool:
    """Open the folder for utterances that wait on disk; what an earlier run left there is deleted."""
    from edge_agent.asr.spool import Spool

    return Spool(paths.under_state(config.hear.spool), config.hear.spool_mib)


def open_dictionary(config: Config, *, apart: bool = False, keep: bool = True) -> Dictionary:
    """Load the dictionary of the packs in force.

    `apart` has a child process compile it where that is needed; without `keep`, what is compiled is not cached.
    """
    packs = Packs(config.dictionary)
    return packs.dictionary_apart() if apart else packs.dictionary(keep=keep)


def open_knowledge(config: Config, dictionary: Dictionary | None = None) -> Knowledge:
    """Load the rules and, unless it is given, the dictionary."""
    from edge_agent.nodes import Limits, Rules

    nodes = config.nodes
    return Knowledge(
        dictionary=dictionary or open_dictionary(config),
        rules=Rules.load(rule_files(config)),
        limits=Limits(
            answer_within_ms=nodes.answer_within_s * 1000,
            recording_notice_within_ms=nodes.recording_notice_within_s * 1000,
            discovery_after_ms=nodes.discovery_after_s * 1000,
        ),
        classifier=_open_classifier(config),
    )


def classifier_file(config: Config) -> Path | None:
    """Return the file of the classifier in use, if one is wanted."""
    name = config.nodes.classifier
    if name == "off":
        return None
    if name:
        return Path(name)
    return own if (own := own_classifier()).exists() else shipped_classifier()


def shipped_classifier() -> Path:
    """Return the file of the classifier that is part of the product."""
    return paths.shipped() / "models" / "zh-nodes" / "classifier.npz"


def own_classifier() -> Path:
    """Return where the classifier lies that `nodes use` put in force in place of the shipped one."""
    return paths.under_state("classifier.npz")


def classifier_of(name: str) -> Path:
    """Return the file of a classifier that is named by its path (also within the state folder) or by a kept version.

    Raises:
        DictionaryError: there is no such version, or no classifier judged in it.
    """
    if name.endswith(".npz"):
        return Path(name) if Path(name).exists() else paths.under_state(name)
    version = archive.find(archive_folder(), name)
    if version.classifier is None:
        raise DictionaryError("no classifier judged in this version", where=str(version.folder), remedy="name another")
    return version.classifier


def _open_classifier(config: Config) -> Classifier | None:
    """Load the classifier; where it can't be used the rules go on alone, and `doctor` says so."""
    from edge_agent.nodes import Classifier

    path = classifier_file(config)
    if path is None:
        return None
    try:
        return Classifier.load(path)
    except DictionaryError as error:
        log.warning("%s; %s", error, error.remedy)
        return None


def archive_folder() -> Path:
    """Return the folder in which the versions of rules and classifier are kept."""
    return paths.under_state("versions")


def keep_version(config: Config, knowledge: Knowledge) -> None:
    """Keep the rules and the classifier that judge from now on, so that they can be compared with later ones."""
    classifier = classifier_file(config) if knowledge.classifier else None
    archive.keep(archive_folder(), knowledge.version, rule_files(config), classifier)


def with_candidate(config: Config, knowledge: Knowledge) -> Knowledge:
    """Let the configured candidate judge in shadow; one that can't be used is told of, and calls go on without it."""
    name = config.nodes.candidate
    if not name:
        return knowledge
    try:
        return replace(knowledge, candidates=(open_candidate(config, knowledge, name),))
    except EdgeError as error:
        log.error("no candidate judges in shadow: %s; %s", error, error.remedy)
        return knowledge


def open_candidate(config: Config, knowledge: Knowledge, name: str) -> Knowledge:
    """Load other rules, another classifier or both, to be held against what is in force.

    `name` is a configuration (.toml), a rule file (.yaml; it takes the place of a file in use of the same folder and
    name, or comes after all), a classifier (.npz), a folder of rule files, or a version that is kept.

    Raises:
        EdgeError: there is no such thing, or it can't be used.
    """
    from edge_agent import config as settings
    from edge_agent.nodes import Classifier, Rules

    path, files = Path(name), rule_files(config)
    if path.suffix == ".toml":
        other = settings.load(path)
        opened = _open_classifier(other)
        return replace(knowledge, rules=Rules.load(rule_files(other)), classifier=opened, muted=frozenset())
    if path.suffix == ".npz":
        return replace(knowledge, classifier=Classifier.load(classifier_of(name)), muted=frozenset())
    if path.is_dir() or path.suffix in (".yaml", ".yml"):
        given = {(each.parent.name, each.name): each for each in (path.glob("*.yaml") if path.is_dir() else [path])}
        placed = [given.pop((each.parent.name, each.name), each) for each in files]
        files = [*placed, *(given[key] for key in sorted(given))]
        return replace(knowledge, rules=Rules.load(files), muted=frozenset())
    version = archive.find(archive_folder(), name)
    kept = Classifier.load(version.classifier) if version.classifier else None
    return replace(knowledge, rules=Rules.load(version.rule_files), classifier=kept, muted=frozenset())


def corridor_settings(config: Config) -> Settings:
    """Return how the corridor works."""
    from edge_agent.vad import EndpointSettings

    return Settings(
        site=config.site.id,
        endpoint=EndpointSettings(**config.vad.model_dump()),
        gain=config.hear.gain == "auto",
        queue_utterances=config.hear.queue_utterances,
        batch=config.model.batch,
        gather_ms=config.model.gather_ms,
        behind_ms=config.hear.behind_ms,
        about={source.name: source.about for source in config.sources if source.about},
    )


def open_file(config: Config, path: Path, speakers: Sequence[Speaker], *, realtime: bool = False) -> FileSource:
    """Open a recording."""
    from edge_agent.audio.file import FileSource

    return FileSource(path, chunk_ms=_chunk_ms(config, realtime), speakers=tuple(speakers), realtime=realtime)


def own_key(config: Config) -> str:
    """Return this branch's public key, or nothing where the line is in plain text."""
    from edge_agent import keys

    return "" if config.uplink.insecure else keys.load(paths.under_state(config.uplink.key_file)).public


def open_uplink(
    config: Config,
    outbox: Outbox,
    about: Callable[[], Mapping[str, str]] = dict,
    receiver: Receiver | None = None,
) -> Uplink:
    """Make the branch's end of the line to head office; it connects when it is started.

    `about` tells head office which versions run here, by name; `receiver` takes in what it publishes.
    """
    from edge_agent.uplink import Uplink

    return Uplink(outbox, config.uplink, about=about, receiver=receiver)


def open_source(config: Config, source: Source) -> FileSource:
    """Open the recording that a source of the kind `file` names."""
    from edge_agent.audio.file import FileSource

    return FileSource(
        Path(source.path),
        chunk_ms=_chunk_ms(config, source.realtime),
        speakers=source.speakers,
        realtime=source.realtime,
        name=source.name,
        customer_id=source.customer_id or None,
    )


def open_intake(config: Config, source: Source, *, once: bool = False) -> Intake:
    """Open what announces calls; with `once` a folder ends when what lies in it now was heard.

    Raises:
        AudioError: a port is taken, a folder can't be read.
    """
    match source.kind:
        case SourceKind.RTP:
            from edge_agent.audio.rtp import RtpIntake, payload_type

            return RtpIntake(
                source.name,
                bind=source.bind,
                port=source.port,
                lines=source.lines,
                speakers=source.speakers,
                own_ports=source.legs == "ports",
                payloads=dict(payload_type(text) for text in source.payloads),
                reorder_ms=source.reorder_ms,
                hangup_s=source.hangup_s,
                senders=source.senders,
                customer_id=source.customer_id or None,
            )
        case SourceKind.WATCH:
            from edge_agent.audio.folder import FolderIntake

            return FolderIntake(
                source.name,
                Path(source.path),
                paths.under_state(f"heard-{source.name}.jsonl"),
                speakers=source.speakers,
                pattern=source.pattern,
                settle_s=source.settle_s,
                sidecar_wait_s=source.sidecar_wait_s,
                poll_s=source.poll_s,
                at_once=source.at_once,
                quarantine=source.quarantine,
                chunk_ms=_chunk_ms(config, False),
                once=once,
            )
        case SourceKind.DEVICE:
            from edge_agent.audio.device import DeviceIntake
            from edge_agent.vad.silero import Silero

            return DeviceIntake(
                source.name,
                [source.device, *([source.second_device] if source.second_device else [])],
                speakers=source.speakers,
                channels=source.channels,
                rate_hz=source.rate_hz,
                judge=Silero if source.call == "voice" else None,
                quiet_s=source.quiet_s,
                longest_call_s=source.longest_call_s,
                customer_id=source.customer_id or None,
            )
        case SourceKind.FILE:
            raise ConfigError("a recording is one call and announces none", where=source.name)


def _chunk_ms(config: Config, realtime: bool) -> int:
    """Return the length of chunks: nobody waits for a piece of a file, and longer ones halve the cost of the VAD."""
    return config.hear.chunk_ms if realtime else max(config.hear.chunk_ms, _FILE_CHUNK_MS)
