"""One request to the CRM and its answer: the only place that speaks HTTP."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx2

from edge_agent import __version__
from edge_agent.errors import ConfigError
from edge_agent.hub.webhook import Answer, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_agent.config import Delivery

_READ = 4096  # bytes of an answer that are looked at
_SAID = 200  # characters of it that are kept


class Post:
    """Sends requests to one address; any thread may call it. Redirects are not followed: what is signed stays here."""

    def __init__(self, settings: Delivery, authorization: str = "") -> None:
        """Make the client; nothing is connected yet.

        Raises:
            ConfigError: the certificates or the proxy of the configuration can't be used.
        """
        self._url = settings.url
        self._timeout_s = settings.timeout_s
        headers = {"user-agent": f"edge-agent-hub/{__version__}"}
        if authorization:
            headers["authorization"] = authorization
        try:
            self._client = httpx2.Client(
                headers=headers,
                verify=ssl.create_default_context(cafile=settings.ca_file or None),
                timeout=settings.timeout_s,
                proxy=settings.proxy or None,
                trust_env=False,
                limits=httpx2.Limits(max_connections=settings.customers_at_once + 1),
            )
        except (OSError, ValueError, httpx2.InvalidURL) as error:
            raise ConfigError(
                f"the way to the CRM can't be set up: {error}", remedy="see `ca_file` and `proxy` in [delivery]"
            ) from error

    def send(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send one request and say what came of it; whatever happens, an answer is returned."""
        end = time.monotonic() + self._timeout_s
        said = bytearray()
        try:
            with self._client.stream("POST", self._url, content=body, headers=dict(headers)) as response:
                # An answer may come in drops, or never end: it has until `end` to say something, and is then judged.
                for piece in response.iter_raw():
                    said += piece
                    if len(said) >= _READ:
                        break
                    if time.monotonic() > end:
                        return Answer(Verdict.AGAIN, f"the answer took longer than {self._timeout_s:g} s")
                names = {name.lower(): value for name, value in response.headers.items()}
                with suppress(UnicodeDecodeError):
                    text = bytes(said[:_READ]).decode("utf-8", "ignore")
                return judge(response.status_code, names, " ".join(text.split())[:_SAID], datetime.now(UTC))
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol) as error:
            return Answer(Verdict.HOLD, f"not reached: {_why(error)}")
        except httpx2.TimeoutException:
            return Answer(Verdict.AGAIN, f"no answer within {self._timeout_s:g} s")
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            return Answer(Verdict.AGAIN, f"the connection broke before the answer was whole: {_why(error)}")
        except Exception as error:  # a fault, here or in the library, must not end the courier's work
            return Answer(Verdict.AGAIN, f"a fault of the program: {_why(error)}")

    def close(self) -> None:
        """Close every connection."""
        self._client.close()


def _why(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:_SAID]
