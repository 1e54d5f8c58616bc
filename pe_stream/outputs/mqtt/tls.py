"""Settings to the TLS context of a connection."""

from __future__ import annotations

import ssl
from pathlib import Path

from pe_stream.config import TlsSettings
from pe_stream.errors import ConfigError


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """TLS 1.2 or later; the broker's certificate and host name are checked unless `insecure`.

    Raises ConfigError for a file that is missing, unreadable or not what it should be.
    """
    _require_file("ca", settings.ca)
    _require_file("certificate", settings.certificate)
    _require_file("key", settings.key)
    try:
        context = ssl.create_default_context(cafile=settings.ca)
    except OSError as error:
        raise ConfigError(f"mqtt.tls.ca: {settings.ca} holds no PEM certificates") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _Socket
    if settings.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.certificate is not None:
        # An empty password, because with none Python would ask for it on the terminal.
        try:
            context.load_cert_chain(settings.certificate, settings.key, password="")
        except OSError as error:
            raise ConfigError(
                f"mqtt.tls.certificate: {settings.certificate} and its key are not a PEM pair "
                "without a passphrase"
            ) from error
    return context


class _Socket(ssl.SSLSocket):
    """Closes when the handshake fails; paho would leave that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as in ssl
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _require_file(key: str, path: str | None) -> None:
    if path is None:
        return
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ConfigError(f"mqtt.tls.{key}: cannot read {path}: {error.strerror}") from error
