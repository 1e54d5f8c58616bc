"""TLS settings that work, and the words for those that cannot."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from mosquitto import Certificates, make_certificates

from pe_stream.config import TlsSettings
from pe_stream.errors import ConfigError
from pe_stream.outputs.mqtt.tls import tls_context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def test_certificate_and_host_name_are_checked_and_old_tls_is_not_spoken() -> None:
    context = tls_context(TlsSettings())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.cert_store_stats()["x509_ca"] > 0  # the system's


def test_only_the_ca_given_is_trusted(certificates: Certificates) -> None:
    context = tls_context(TlsSettings(ca=str(certificates.ca)))
    assert context.cert_store_stats()["x509_ca"] == 1


def test_insecure_checks_nothing() -> None:
    context = tls_context(TlsSettings(insecure=True))
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


@pytest.mark.parametrize("key", ["ca", "certificate", "key"])
def test_a_missing_file_is_named(certificates: Certificates, tmp_path: Path, key: str) -> None:
    files = {
        "ca": str(certificates.ca),
        "certificate": str(certificates.client),
        "key": str(certificates.client_key),
    }
    files[key] = str(tmp_path / "absent.pem")
    with pytest.raises(
        ConfigError, match=rf"^mqtt\.tls\.{key}: cannot read .*absent\.pem: No such"
    ):
        tls_context(TlsSettings.model_validate(files))


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a certificate")
    with pytest.raises(ConfigError, match=r"mqtt\.tls\.ca: .*notes\.txt holds no PEM"):
        tls_context(TlsSettings(ca=str(tmp_path / "notes.txt")))


def test_a_key_of_another_certificate_is_named(certificates: Certificates) -> None:
    pair = TlsSettings(certificate=str(certificates.client), key=str(certificates.server_key))
    with pytest.raises(ConfigError, match=r"mqtt\.tls\.certificate: .*client\.pem and its key"):
        tls_context(pair)
