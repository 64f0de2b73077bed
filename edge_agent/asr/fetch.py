"""Fetch a model from a hub that speaks Hugging Face's protocol, or a mirror of it; the appliance itself never does."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edge_agent.asr.card import digest
from edge_agent.asr.library import HASHED, copy, staged, write_plain_card
from edge_agent.errors import ModelError

_OFFLINE = "copy the model's folder onto this server and use `edge-agent model import`"


def repository(name: str) -> str:
    """Return the repository of a model: `owner/name`, or one of faster-whisper's short names (`small`)."""
    from faster_whisper.utils import _MODELS

    found = name if "/" in name else _MODELS.get(name)
    if found is None:
        raise ModelError(
            f"there is no model called {name!r}",
            remedy="give owner/name of a repository, or one of: " + ", ".join(sorted(_MODELS)),
        )
    return str(found)


def fetch(
    model: str,
    library: Path,
    name: str = "",
    *,
    revision: str | None = None,
    mirror: str | None = None,
    offline: bool = False,
    replace: bool = False,
) -> Path:
    """Fetch a model in CTranslate2's form into the library, and return where it lies.

    Without a `mirror`, `HF_ENDPOINT` names the hub; `offline` (or `HF_HUB_OFFLINE`) takes what the hub's cache on this
    machine holds, and no network. The hub tells the hash of the weights, and what came is compared with it.

    Raises:
        ModelError: the hub is not reached or has no such model, or what came is no sound model.
    """
    # The library reads its switches when it is imported.
    if mirror:
        os.environ["HF_ENDPOINT"] = mirror
    import httpx2
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repo = repository(model)
    offline = offline or constants.HF_HUB_OFFLINE
    hub = mirror or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    place = name or repo.rpartition("/")[2]
    with staged(library, place, replace=replace) as stage:
        told: dict[str, str] = {}
        try:
            if not offline:
                about = HfApi(endpoint=hub).model_info(repo, revision=revision, files_metadata=True)
                told = {file.rfilename: file.lfs.sha256 for file in about.siblings or () if file.lfs is not None}
                revision = about.sha or revision
            found = snapshot_download(
                repo,
                revision=revision,
                allow_patterns=[*HASHED, "card.toml"],
                endpoint=None if offline else hub,
                local_files_only=offline,
                local_dir=None if offline else str(stage),
            )
        except LocalEntryNotFoundError as error:
            what = "isn't in this machine's cache" if offline else "can't be fetched: the hub is not reached"
            raise ModelError(f"{repo} {what}", where="" if offline else hub, remedy=_OFFLINE) from error
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            why = {
                401: "the hub wants a login",
                403: "the hub refuses it",
                404: "the hub has no such model or revision",
            }
            raise ModelError(
                f"{repo} can't be fetched: {why.get(status, f'the hub answers {status}')}",
                where=hub,
                remedy="check the name and --revision; HF_TOKEN logs in; " + _OFFLINE,
            ) from error
        except HFValidationError as error:
            raise ModelError(f"{repo!r} is no name of a repository", remedy="it looks like owner/name") from error
        except (OSError, httpx2.HTTPError, ValueError) as error:
            raise ModelError(f"{repo} can't be fetched: {error}", where=hub, remedy=_OFFLINE) from error
        if offline:
            copy(Path(found), stage)
        shutil.rmtree(stage / ".cache", ignore_errors=True)  # what the hub's library notes beside the files
        for file in sorted(set(told) & set(HASHED)):
            if not (stage / file).is_file() or digest(stage / file) != told[file]:
                raise ModelError(
                    f"{repo} came in damaged: the SHA-256 of {file} isn't the one that the hub tells",
                    where=hub,
                    remedy="fetch it again, or from another mirror",
                )
        if not (stage / "model.bin").is_file():
            raise ModelError(
                f"{repo} holds no model.bin",
                where=hub,
                remedy="take a conversion for CTranslate2 (such as Systran/faster-whisper-small), not the original",
            )
        if not (stage / "card.toml").exists():
            write_plain_card(stage, place, source=f"{hub}/{repo}" + (f"@{revision}" if revision else ""))
    return library / place
