"""Files with secrets: read whole, refused where they are none, and not others' to read or write."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from pe_stream.config.file import load
from pe_stream.config.secrets import LONGEST, read_secret
from pe_stream.errors import ConfigError

SECRET = "mqtt.password_file"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("hunter2\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (0o600, None),
        (0o400, None),
        (0o640, None),
        (0o604, "holds a secret, and everybody on this machine may read it: chmod 600"),
        (0o602, "and everybody on this machine may write it"),
        (0o620, "and its group may write it"),
        (0o666, "and everybody on this machine may read, everybody on this machine may write it"),
    ],
)
def test_what_others_may_read_or_write_is_warned_of(
    mode: int, said: str | None, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.chmod(mode)
    assert read_secret(SECRET, file) == "hunter2"
    assert len(caplog.messages) == (said is not None)
    for message in caplog.messages:
        assert message.startswith(f"{SECRET}: {file} ")
        assert (said or "") in message
        assert "hunter2" not in message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_secret_of_another_user_is_warned_of(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.chown(file, 65534, -1)
    read_secret(SECRET, file)
    assert "user 65534 owns it" in caplog.text


@pytest.mark.parametrize(
    "content", ["hunter2".encode("utf-16-le"), b"hunter\0\0\0", b"hunter\x1b[2J\n"]
)
def test_what_is_no_text_is_no_secret(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^{SECRET}: {file} is not one line of UTF-8 text"):
        read_secret(SECRET, file)


def test_a_tab_may_be_in_a_secret(file: Path) -> None:
    file.write_bytes(b"hun\tter2")
    assert read_secret(SECRET, file) == "hun\tter2"


def test_what_does_not_end_is_no_secret(file: Path) -> None:
    file.write_text("x" * (LONGEST + 1))
    with pytest.raises(ConfigError, match="more than 65536 characters"):
        read_secret(SECRET, file)
    with pytest.raises(ConfigError, match="/dev/zero"):
        read_secret(SECRET, Path("/dev/zero"))


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfhunter2",
        b"hunter2\r\n",
        b"hunter2\n\n",
        b"\xef\xbb\xbfhunter2\r\n\r\n",
        "\ufeffhunter2\r\n".encode("utf-16-le"),
        "\ufeffhunter2".encode("utf-16-be"),
    ],
)
def test_marks_and_ends_of_lines_are_no_part_of_a_secret(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    assert read_secret(SECRET, file) == "hunter2"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"hunter2\nhunter3\n", "has more than one line"),
        (b"\xef\xbb\xbf\r\n", "is empty: put the password into it"),
        (b"hunter\xe4", "is not UTF-8 text"),
        (b"\xff\xfeh", "is not UTF-8 text"),
    ],
)
def test_what_is_no_secret_is_told(content: bytes, said: str, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        read_secret(SECRET, file)
    assert "hunter" not in str(caught.value)


def test_the_rights_of_what_a_container_is_given_are_not_ours(
    file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.chmod(0o444)
    monkeypatch.setattr("pe_stream.config.secrets._GIVEN", (file.parent,))
    assert read_secret(SECRET, file) == "hunter2"
    assert not caplog.messages


LEAST = "labels: {a: }\n"


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("", False),
        ("mqtt: {username: u, password_file: x}", False),
        ("mqtt: {username: u, password: hunter2}", True),
        ("web: {token: hunter2hunter2hunter2}", True),
        ("notifications: {a: {webhook: 'http://x/hunter2'}}", True),
        ("sources: {k: {url: 'rtsp://u:hunter2@cam'}}", True),
        ("sources: {k: {url: 'rtsp://cam'}}", False),
    ],
)
def test_a_configuration_with_secrets_is_such_a_file(
    text: str, warned: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(LEAST + text)
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING, "pe_stream"):
        load(path)
        assert len(caplog.messages) == warned
        path.chmod(0o600)
        load(path)
        assert len(caplog.messages) == warned
    assert "hunter2" not in caplog.text
