"""`${NAME}` and `${file:/path}`: what they become, where they cannot, and that nobody sees it."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
import yaml

from pe_stream.cli.log_handler import LimitedHandler
from pe_stream.config import Settings
from pe_stream.config.addresses import masked_url
from pe_stream.config.edit import Edit, edited
from pe_stream.config.file import effective, load, parse, parse_with_references
from pe_stream.config.references import literal
from pe_stream.errors import ConfigError

LEAST = "labels: {dog: }\n"


def with_url(written: str) -> Settings:
    return parse(f"sources: {{hall: {{url: '{written}'}}}}\n{LEAST}")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Variables, and a folder of files as systemd and Docker have them."""
    (tmp_path / "cam").write_text("filed:S/1@x\n")
    for name, value in {
        "CAM_USER": "admin",
        "CAM_PASSWORD": "p@ss/w#rd:1%",
        "CAM_LOGIN": "viewer:two:p@rts",
        "CAM_URL": "rtsp://root:wholesecret@cam.lan/privatepath77",
        "CAM_HOST": "cam.lan:554",
        "CAM_TOKEN": "tokenInThePath",
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "WINDOWS": "fromDosFile\r\n",
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("rtsp://${CAM_USER}:${CAM_PASSWORD}@cam/x", "rtsp://admin:p%40ss%2Fw%23rd%3A1%25@cam/x"),
        ("rtsp://u:a${CAM_PASSWORD}b@cam/x", "rtsp://u:ap%40ss%2Fw%23rd%3A1%25b@cam/x"),
        ("rtsp://${CAM_LOGIN}@cam/x", "rtsp://viewer:two%3Ap%40rts@cam/x"),
        ("${CAM_URL}", "rtsp://root:wholesecret@cam.lan/privatepath77"),
        ("rtsp://${CAM_HOST}/${CAM_TOKEN}", "rtsp://cam.lan:554/tokenInThePath"),
        ("http://cam/a?key=${CAM_PASSWORD}", "http://cam/a?key=p@ss/w#rd:1%"),
        ("http://cam/${CAM_USER}@2/${CAM_PASSWORD}", "http://cam/admin@2/p@ss/w#rd:1%"),
        ("rtsp://u:${file:${CREDENTIALS_DIRECTORY}/cam}@cam", "rtsp://u:filed%3AS%2F1%40x@cam"),
        ("rtsp://u:${WINDOWS}@cam", "rtsp://u:fromDosFile@cam"),
    ],
)
def test_a_reference_in_an_address(written: str, meant: str) -> None:
    assert with_url(written).sources["hall"].url == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("pa$word", "pa$word"),
        ("$CAM_USER", "$CAM_USER"),
        ("pa$$word$", "pa$$word$"),
        ("a$1b{c}", "a$1b{c}"),
        (
            "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA",
            "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA",
        ),
        ("$${CAM_USER}", "${CAM_USER}"),
        ("$$${CAM_USER}", "$admin"),
        ("$$$${CAM_USER}", "$${CAM_USER}"),
        ("${CAM_USER}$${CAM_USER}", "admin${CAM_USER}"),
        ("$${", "${"),
    ],
)
def test_a_dollar_is_itself_unless_a_brace_follows(written: str, meant: str) -> None:
    settings = parse(f"mqtt: {{username: u, password: '{written}'}}\n{LEAST}")
    assert settings.mqtt.read_password() == meant


@pytest.mark.parametrize("text", ["a", "$", "${X}", "$${X}", "a$$b${c}$${", "{$}{"])
def test_any_text_can_be_written(text: str) -> None:
    settings = parse(f"mqtt: {{username: u, password: '{literal(text)}'}}\n{LEAST}")
    assert settings.mqtt.read_password() == text


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("${NOT_SET_AT_ALL}", "environment variable NOT_SET_AT_ALL is not set (a ${ that means"),
        ("x${file:/nowhere/it}", "${file:/nowhere/it}: cannot read /nowhere/it: No such file"),
        ("${file:${NOT_SET_AT_ALL}/x}", "NOT_SET_AT_ALL is not set"),
        ("${file:${file:/a}}", "names no file: ${file:/path}"),
        ("${file:}", "${file:} names no file"),
        ("${CAM_USER", "a ${ without its }"),
        ("${}", "${} is no reference: ${NAME} is an environment variable"),
        ("${CAM_USER:-x}", "${CAM_USER:-x} is no reference"),
        ("${env:CAM_USER}", "${env:CAM_USER} is no reference"),
        ("${EMPTY}", "EMPTY is set, but empty"),
        ("${CONTROL}", "CONTROL is not one line of UTF-8 text"),
        ("${BYTES}", "BYTES is not one line of UTF-8 text"),
    ],
)
def test_what_cannot_be_followed_is_told_with_its_line(
    written: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMPTY", "\r\n")
    monkeypatch.setenv("CONTROL", "top\nsecret")
    monkeypatch.setenv("BYTES", "top\udce4secret")
    with pytest.raises(ConfigError) as caught:
        parse(f"{LEAST}mqtt:\n  username: u\n  password: '{written}'\n", "c.yaml")
    assert str(caught.value).startswith("c.yaml:4: mqtt.password: ")
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_that_cannot_be_followed_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(
            "sources: {hall: {url: 'rtsp://${NONE_1}@x'}}\n"
            "labels: {dog: {prompts: ['${NONE_2}']}}\n"
            "mqtt:\n  port: ${NONE_3}\n  hots: x\n"
        )
    lines = str(caught.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"config.yaml:{n}" for n in (1, 2, 4, 5)]


def test_numbers_and_switches_come_by_reference_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PORT": "1884", "ON": "true", "DAYS": "2.5", "PASS": "12345678"}.items():
        monkeypatch.setenv(name, value)
    settings = parse(
        "mqtt: {port: '${PORT}', username: u, password: '${PASS}', tls: '${ON}'}\n"
        f"clips: {{enabled: '${{ON}}', keep_days: '${{DAYS}}'}}\n{LEAST}"
    )
    assert (settings.mqtt.port, settings.mqtt.read_password()) == (1884, "12345678")
    assert (settings.clips.enabled, settings.clips.keep_days) == (True, 2.5)
    assert settings.mqtt.tls is not None


@pytest.mark.parametrize("value", ["hiddenPort", "99123", "true", "1.5"])
def test_what_is_no_such_number_is_not_quoted(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", value)
    with pytest.raises(ConfigError, match=r"mqtt\.port: found .*\$\{PORT\}") as caught:
        parse(f"mqtt: {{port: '${{PORT}}'}}\n{LEAST}")
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "sources: {hall: {url: 'rtsp:/${CAM_TOKEN}'}}",
        "sources: {hall: {url: 'http://c/${CAM_TOKEN}', loop: true}}",
        "sources: {hall: {microphone: 1, url: '${CAM_URL}'}}",
        "notifications: {n: {webhook: '${CAM_TOKEN}'}}",
        "notifications: {n: {webhook: 'http://x', headers: {A: 'ü${CAM_TOKEN}'}}}",
        "notifications: {n: {webhook: 'http://x', labels: ['${CAM_TOKEN}']}}",
        "web: {token: '${CAM_TOKEN}', password_hash: '${CAM_TOKEN}'}",
        "model: {device: '${CAM_TOKEN}'}",
        "location: {timezone: '${CAM_TOKEN}'}",
        "mqtt: {username: '${CAM_TOKEN}', tls: '${CAM_TOKEN}', host: '{${CAM_TOKEN}'}",
        "clips: '${CAM_TOKEN}'",
    ],
)
def test_no_error_quotes_a_value(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"{text}\n{LEAST}")
    assert "tokenInThePath" not in str(caught.value)


def test_no_error_quotes_what_is_no_secret_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONG", "inTheEnvironment " * 10)
    monkeypatch.setenv("TWICE", "aPromptOfTheEnvironment")
    with pytest.raises(ConfigError) as caught:
        parse("labels: {a: {threshold: '${LONG}'}, b: {prompts: ['${TWICE}', '${TWICE}']}}")
    first, second = str(caught.value).splitlines()
    assert "found '${LONG}', should be a number" in first
    assert "the prompt '${TWICE}' is given twice" in second


def test_the_configuration_shows_references_instead() -> None:
    text = (
        "sources:\n  a: {url: 'rtsp://u:${CAM_PASSWORD}@${CAM_HOST}/${CAM_TOKEN}'}\n"
        "  b: {url: '${CAM_URL}'}\n"
        "  c: {url: 'http://c/x?token=${file:${CREDENTIALS_DIRECTORY}/cam}&y=1'}\n"
        "labels: {dog: {prompts: '${CAM_TOKEN}', threshold: 0.5, pattern: '${RHYTHM}'}}\n"
        "mqtt: {username: '${CAM_USER}', password: '${CAM_PASSWORD}'}\n"
        "notifications:\n"
        "  n: {webhook: 'https://hook.lan/${CAM_TOKEN}/x', headers: {A: '${CAM_TOKEN}'}}\n"
        "web: {token: '${CAM_URL}'}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RHYTHM", "T3")
        shown = effective(*parse_with_references(text))
    read = yaml.safe_load(shown)
    assert read["sources"]["a"]["url"] == "rtsp://********@${CAM_HOST}/${CAM_TOKEN}"
    assert read["sources"]["b"]["url"] == "${CAM_URL}"
    assert read["sources"]["c"]["url"] == "http://c/x?token=********&y=********"
    assert read["labels"]["dog"]["prompts"] == ["${CAM_TOKEN}"]
    assert read["labels"]["dog"]["pattern"] == "${RHYTHM}"
    assert (read["mqtt"]["username"], read["mqtt"]["password"]) == ("${CAM_USER}", "********")
    for secret in ("p@ss", "p%40ss", "tokenInThePath", "wholesecret", "privatepath77", "filed"):
        assert secret not in shown


def test_whatever_shows_an_address_or_logs_shows_references() -> None:
    with_url("rtsp://u:${CAM_PASSWORD}@${CAM_HOST}/${CAM_TOKEN}/1")
    assert (
        masked_url("rtsp://u:p%40ss%2Fw%23rd%3A1%25@cam.lan:554/tokenInThePath/1")
        == "rtsp://********@${CAM_HOST}/${CAM_TOKEN}/1"
    )
    stream = io.StringIO()
    handler = LimitedHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    said = ("tokenInThePath", "p@ss/w#rd:1%", "p%40ss%2Fw%23rd%3A1%25")
    record = ("broken: %s, %s, %s of cam.lan", said)
    info = (ValueError, ValueError("tokenInThePath"), None)
    handler.emit(logging.LogRecord("x", logging.ERROR, "", 1, *record, info))
    shown = "broken: ${CAM_TOKEN}, ${CAM_PASSWORD}, ${CAM_PASSWORD} of cam.lan"
    assert shown in stream.getvalue()
    assert "ValueError: ${CAM_TOKEN}" in stream.getvalue()


def test_a_short_value_is_hidden_only_where_it_stands_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STREAM", "zlive")
    monkeypatch.setenv("NUMBER", "7")
    with_url("rtsp://cam/${STREAM}/${NUMBER}")
    assert masked_url("rtsp://cam/zlive/7") == "rtsp://cam/${STREAM}/${NUMBER}"
    assert masked_url("zlively 7 zlive") == "zlively 7 ${STREAM}"


def test_a_name_is_no_place_for_a_reference() -> None:
    with pytest.raises(ConfigError, match=r"c.yaml:1: sources\.\$\{CAM_TOKEN\}: a name is shown"):
        parse("sources: {'${CAM_TOKEN}': {microphone: default}}\n" + LEAST, "c.yaml")


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("mqtt: {username: u, password: '${CAM_TOKEN}'}", False),
        ("sources: {k: {url: 'rtsp://u:${CAM_PASSWORD}@cam'}}", False),
        ("sources: {k: {url: 'rtsp://u:written1@${CAM_HOST}'}}", True),
        ("notifications: {a: {webhook: 'http://x/${CAM_TOKEN}'}}", False),
    ],
)
def test_a_file_with_references_alone_holds_no_secret(
    text: str, warned: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(LEAST + text)
    path.chmod(0o644)
    load(path)
    assert ("holds a secret" in caplog.text) == warned


def test_a_file_that_others_may_read_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cam").chmod(0o644)
    path = tmp_path / "c.yaml"
    path.write_text(LEAST + f"mqtt: {{username: u, password: '${{file:{tmp_path}/cam}}'}}")
    settings = load(path)
    assert settings.mqtt.read_password() == "filed:S/1@x"
    assert caplog.text.count("holds a secret, and everybody on this machine may read it") == 1
    edited(path.read_text(), Edit("dog", {"threshold": 0.4}))
    assert caplog.text.count("holds a secret") == 1


def test_a_variable_in_braces_alone_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("sources: {a: {url: 'rtsp://u:{CAM_PASSWORD}@c/${CAM_USER}'}}\n" + LEAST)
    path.chmod(0o600)
    assert load(path).sources["a"].url == "rtsp://u:{CAM_PASSWORD}@c/admin"
    assert caplog.messages == [
        "line 1: sources.a.url: {CAM_PASSWORD} is text; ${CAM_PASSWORD} is the environment variable"
    ]


BOTH = """\
sources: {hall: {url: "rtsp://u:${CAM_PASSWORD}@cam/x"}}
labels:
  dog:
    prompts: ["a ${CAM_USER} dog", "a dog"]  # two
    threshold: ${T}
  cat: {enabled: "${ON}"}
"""


def test_an_edit_keeps_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T", "0.4")
    monkeypatch.setenv("ON", "true")
    more = {"prompts": ["a admin dog", "a dog", "dogs"], "threshold": 0.4, "min_on_s": 0.3}
    after = edited(BOTH, Edit("dog", more))
    assert 'prompts: ["a ${CAM_USER} dog", "a dog", "dogs"]  # two' in after
    assert "threshold: ${T}" in after
    assert "rtsp://u:${CAM_PASSWORD}@cam/x" in after
    assert edited(BOTH, Edit("cat", {"enabled": True})) == BOTH
    assert "cat: {enabled: false}" in edited(BOTH, Edit("cat", {"enabled": False}))
    assert "threshold: 0.5" in edited(BOTH, Edit("dog", {"threshold": 0.5}))


def test_nobody_can_read_the_environment_by_an_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T", "0.4")
    monkeypatch.setenv("ON", "true")
    wanted = {"prompts": ["${CAM_PASSWORD}", "$${file:/etc/hostname}", "$5"]}
    for edit in (Edit("dog", wanted), Edit("new", wanted, create=True)):
        label = parse(edited(BOTH, edit)).labels[edit.label]
        assert list(label.prompts) == wanted["prompts"]
