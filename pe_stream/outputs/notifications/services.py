"""The ways a message goes out: a webhook, or a service that Apprise knows."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from pe_stream.config import SIGNATURE, NotificationSettings, shown
from pe_stream.config.addresses import MASK
from pe_stream.errors import ConfigError, RefusedError, UnavailableError
from pe_stream.version import __version__

if TYPE_CHECKING:
    import apprise
    import httpx

TIMEOUT_S = 10.0
"""How long a webhook may take to answer (s); Apprise has limits of its own, mostly 4 s."""

_ANSWER = 200
_KINDS = {".flac": "audio/flac", ".opus": "audio/ogg"}


@dataclass(frozen=True, slots=True)
class Notification:
    """A message: words for people, the event's JSON for programs, and a file or none."""

    title: str
    body: str
    json: str
    clip: Path | None = None


class Service(Protocol):
    """A destination of notifications. Used by one thread at a time."""

    describe: str
    """Description without secrets."""

    def send(self, notification: Notification) -> str:
        """Deliver a message; returns the answer.

        Raises RefusedError where another try is in vain, UnavailableError otherwise.
        """

    def close(self) -> None:
        """Let go of connections."""


def service(name: str, settings: NotificationSettings) -> Service:
    """Make the service of a notification; sends nothing.

    Raises ConfigError for an address that cannot be used, UnavailableError where the library
    for it is not installed.
    """
    kind = Webhook if settings.webhook is not None else Apprise
    try:
        return kind(name, settings)
    except ImportError as error:
        raise UnavailableError(
            f"notifications.{name}: {error.name} is not installed: pip install 'pe-stream[notify]'"
        ) from None


class Webhook:
    """Posts the event's JSON, or a form of parts `event` and `clip` where clips are wanted.

    Redirects are not followed: they would take what was heard, and the headers with their secrets,
    to where nobody has told us to send them. Certificates are verified.
    """

    def __init__(self, name: str, settings: NotificationSettings) -> None:
        import httpx

        logging.getLogger("httpx").setLevel(logging.WARNING)  # below, it tells whole addresses
        self._httpx = httpx
        self._url = settings.address(name)
        self._form = settings.clip
        self._secret = settings.secret and settings.secret.get_secret_value().encode()
        self.describe = f"webhook {shown(self._url)}"
        headers = {key: value.get_secret_value() for key, value in settings.headers.items()}
        self._client = httpx.Client(
            headers={"User-Agent": f"pe-stream/{__version__}"} | headers,
            timeout=TIMEOUT_S,
            follow_redirects=False,
        )
        try:
            self._client.build_request("POST", self._url)
        except (httpx.InvalidURL, ValueError):  # their words could be a part of a secret
            self._client.close()
            raise ConfigError(f"notifications.{name}.webhook: not a usable address") from None

    def send(self, notification: Notification) -> str:
        """Post; returns the status. See Service."""
        request = self._request(notification)
        try:
            answer = self._client.send(request, stream=True)
            try:
                said = next(answer.iter_raw(_ANSWER), b"")[:_ANSWER]
            finally:
                answer.close()
        except self._httpx.TimeoutException:
            raise UnavailableError(f"no answer within {TIMEOUT_S:g} s") from None
        except self._httpx.HTTPError as error:
            raise UnavailableError(str(error) or type(error).__name__) from None
        status = f"HTTP {answer.status_code} {answer.reason_phrase}".strip()
        if answer.is_redirect:
            to = shown(str(answer.next_request.url)) if answer.next_request else "elsewhere"
            raise RefusedError(f"{status}, to {to}: redirects are not followed; set that address")
        if answer.is_success:
            return status
        words = f"{status}: {_printable(said)}".removesuffix(": ")
        raise UnavailableError(words) if _may_pass(answer.status_code) else RefusedError(words)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def _request(self, notification: Notification) -> httpx.Request:
        event = notification.json.encode()
        if self._form:
            parts: dict[str, tuple[str | None, bytes, str]] = {
                "event": (None, event, "application/json")
            }
            if notification.clip is not None:
                with suppress(OSError):  # deleted meanwhile, to make room
                    sound = notification.clip.read_bytes()
                    parts["clip"] = (
                        notification.clip.name,
                        sound,
                        _KINDS[notification.clip.suffix],
                    )
            request = self._client.build_request("POST", self._url, files=parts)
        else:
            headers = {"Content-Type": "application/json"}
            request = self._client.build_request("POST", self._url, content=event, headers=headers)
        if self._secret:
            signature = hmac.new(self._secret, request.read(), hashlib.sha256).hexdigest()
            request.headers[SIGNATURE] = f"sha256={signature}"
        return request


class Apprise:
    """Tells people through one of the services that Apprise knows."""

    def __init__(self, name: str, settings: NotificationSettings) -> None:
        import apprise

        # It quotes addresses; what went wrong is told by us.
        logging.getLogger("apprise").propagate = False
        self._url = settings.address(name)
        # On our own thread: those of Apprise are shared, and one that hangs would hold up others.
        asset = apprise.AppriseAsset(async_mode=False)
        plugin = apprise.Apprise.instantiate(self._url, asset=asset)
        if plugin is None:
            key = "apprise" if settings.apprise else "apprise_file"
            raise ConfigError(
                f"notifications.{name}.{key}: Apprise cannot use this {shown(self._url)}: it knows "
                "no such service, or a part is missing; https://github.com/caronc/apprise/wiki"
            )
        self.describe = f"{plugin.service_name} through Apprise, {shown(self._url)}"
        self._apprise: apprise.Apprise = apprise.Apprise()
        self._apprise.add(plugin)

    def send(self, notification: Notification) -> str:
        """Tell; Apprise does not say whether another try would be in vain. See Service."""
        from apprise.attachment.file import AttachFile

        done = self._apprise.notify(
            title=notification.title,
            body=notification.body,
            body_format="text",
            attach=AttachFile(str(notification.clip)) if notification.clip else None,  # type: ignore[no-untyped-call] # is typed in part
        )
        if done:
            return "accepted"
        said = "; ".join(entry.message for entry in done.logs())
        raise UnavailableError(_without(self._url, said) or "it failed, and Apprise says no more")

    def close(self) -> None:
        """Nothing to let go of: Apprise connects for every message."""


def _may_pass(status: int) -> bool:
    """Whether another try may succeed: too many requests, a fault over there."""
    return status == 429 or status >= 500


def _printable(said: bytes) -> str:
    text = " ".join(said.decode(errors="replace").split())
    return text if text.isprintable() else ""


def _without(url: str, text: str) -> str:
    """`text` without any part of the address but its scheme."""
    written = re.split(r"[/@:?&=#,]+", url.partition("://")[2])
    parts = {*written, *map(unquote, written)}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) > 3:
            text = text.replace(part, MASK)
    return text
