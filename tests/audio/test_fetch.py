"""What an HTTP source makes us fetch: nothing but what is on its server, unless it is allowed."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import pytest
from audio.hostile_servers import Handler, Hostile, head, serving, tone, wav_head
from mosquitto import make_certificates

from pe_stream.audio import fetch, limits
from pe_stream.audio.fetch import Fetcher
from pe_stream.audio.limits import TooCostlyError
from pe_stream.audio.opening import open_network
from pe_stream.errors import UnavailableError

M3U8 = "application/vnd.apple.mpegurl"


def sends(kind: str, body: bytes) -> Handler:
    return lambda connection, _: connection.sendall(head(kind, len(body)) + body)


def redirects(to: str) -> Handler:
    answer = f"HTTP/1.0 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()
    return lambda connection, _: connection.sendall(answer)


def playlist(*segments: str, key: str = "") -> Handler:
    begun = f'#EXT-X-KEY:METHOD=AES-128,URI="{key}"\n' if key else ""
    named = "".join(f"#EXTINF:1,\n{segment}\n" for segment in segments)
    body = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n{begun}{named}#EXT-X-ENDLIST\n"
    return sends(M3U8, body.encode())


def manifest(to: str) -> Handler:
    audio = f'<Representation id="1" bandwidth="1"><BaseURL>{to}</BaseURL></Representation>'
    period = f'<Period><AdaptationSet mimeType="audio/mp4">{audio}</AdaptationSet></Period>'
    schema = 'xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT4S"'
    return sends(
        "application/dash+xml", f'<?xml version="1.0"?><MPD {schema}>{period}</MPD>'.encode()
    )


def concat(to: str) -> Handler:
    return sends("text/plain", f"ffconcat version 1.0\nfile '{to}'\n".encode())


def session(port: int) -> Handler:
    described = (
        f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n"
    )
    return sends("application/sdp", described.encode())


def read(url: str, hosts: Sequence[str] = ()) -> int:
    """Samples that come from there."""
    decoder = open_network(url, timeout_s=3, other_hosts=hosts)
    return sum(block.planes.shape[1] for block in decoder.blocks())


@pytest.fixture
def secret(tmp_path: Path) -> str:
    file = tmp_path / "secret.wav"
    file.write_bytes(wav_head(48_000, bits=16, size=96_000) + tone())
    return str(file)


@pytest.fixture
def other() -> Iterator[Hostile]:
    """Another server of the house, which is to be left alone."""
    body = wav_head(48_000, bits=16, size=96_000) + tone()
    with serving(sends("audio/wav", body)) as server:
        yield server


WAYS: dict[str, Callable[[str, str], Handler]] = {
    "redirect": lambda web, _: redirects(web),
    "redirect to a file": lambda _, file: redirects(f"file://{file}"),
    "redirect to TCP": lambda web, _: redirects(web.replace("http", "tcp")),
    "redirect to FTP": lambda web, _: redirects(web.replace("http", "ftp")),
    "redirect to Gopher": lambda web, _: redirects(web.replace("http", "gopher")),
    "redirect to RTSP": lambda web, _: redirects(web.replace("http", "rtsp")),
    "segment": lambda web, _: playlist(f"{web}.ts"),
    "second segment": lambda web, _: playlist("/x.ts", f"{web}.ts"),
    "segment without a suffix": lambda web, _: playlist(web),
    "segment of a file": lambda _, file: playlist(f"file://{file}"),
    "segment of a path": lambda _, file: playlist(file),
    "segment over TCP": lambda web, _: playlist(f"{web.replace('http', 'tcp')}.ts"),
    "segment of concat": lambda _, file: playlist(f"concat:{file}"),
    "segment of subfile": lambda _, file: playlist(f"subfile,,start,0,end,0,,:{file}"),
    "segment in itself": lambda _w, _f: playlist("data:audio/wav;base64,UklGRg=="),
    "key": lambda web, _: playlist("x.ts", key=web),
    "key of a file": lambda _w, _f: playlist("x.ts", key="file:///etc/passwd"),
    "manifest": lambda web, _: manifest(f"{web}.mp4"),
    "manifest of a file": lambda _, file: manifest(f"file://{file}"),
    "list of a file": lambda _, file: concat(f"file://{file}"),
    "list": lambda web, _: concat(f"{web}.wav"),
    "session": lambda web, _: session(int(web.split(":")[2].split("/")[0])),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_leads_to_another_server_or_to_a_file(
    way: str, other: Hostile, secret: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(WAYS[way](other.url("/meta"), secret)) as hostile:
        with pytest.raises(UnavailableError) as caught:
            read(hostile.url())
        assert str(caught.value).startswith(hostile.url())
        assert len(hostile.paths) < 5
    assert other.paths == []
    assert capfd.readouterr() == ("", "")  # of PyAV, which prints what it drops


@pytest.mark.parametrize("way", ["redirect", "segment"])
def test_what_leads_elsewhere_is_named_with_what_allows_it(way: str, other: Hostile) -> None:
    with (
        serving(WAYS[way](other.url("/meta"), "")) as hostile,
        pytest.raises(UnavailableError) as caught,
    ):
        read(hostile.url())
    what = "a redirect" if way == "redirect" else "its playlist"
    assert str(caught.value) == (
        f"{hostile.url()}: {what} leads to another server, "
        f"http://127.0.0.1:{other.port}/********: name it in `other_hosts` of the source if that "
        "is right"
    )


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.1:{port}"])
def test_what_is_allowed_is_fetched(allowed: str, other: Hostile) -> None:
    hosts = [allowed.format(port=other.port)]
    with serving(redirects(other.url("/a"))) as source:
        assert read(source.url(), hosts) == 48_000
        assert read(source.url("/?token=x"), hosts) == 48_000


def test_a_redirect_on_the_same_server_is_followed_with_its_login() -> None:
    asked: list[str] = []

    def answer(connection: socket.socket, path: str) -> None:
        asked.append(path)
        if path == "/live":
            redirects("/here")(connection, path)
        else:
            sends("audio/wav", wav_head(48_000, bits=16, size=96_000) + tone())(connection, path)

    with serving(answer) as source:
        assert read(source.url().replace("//", "//user:secret@")) == 48_000
    assert asked[-1] == "/here"


def test_an_ffmpeg_that_cannot_be_kept_from_redirects_fetches_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], other: Hostile
) -> None:
    monkeypatch.setattr(fetch, "follows_redirects", lambda: True)
    with serving(redirects(other.url("/meta"))) as hostile:
        with pytest.raises(UnavailableError) as caught:
            read(hostile.url())
        assert hostile.paths == []
    assert str(caught.value) == (
        f"{hostile.url()}: FFmpeg {av.ffmpeg_version_info} cannot be kept from following redirects,"
        " so HTTP is not taken; PyAV 17.1 and later bring one that can"
    )
    assert capfd.readouterr() == ("", "")


def test_redirects_in_a_circle_end() -> None:
    with serving(redirects("/live")) as source:
        with pytest.raises(UnavailableError, match="more than 8 redirects"):
            read(source.url())
        assert len(source.paths) == 16  # FFmpeg asked, and we


@pytest.mark.parametrize(
    ("first", "to", "followed"),
    [
        ("radio.example", "http://edge.example/x", True),
        ("radio.example", "https://edge.example/x", True),
        ("radio.example", "http://router.lan/x", False),
        ("radio.example", "http://127.0.0.1/x", False),
        ("radio.example", "http://[::ffff:10.0.0.1]/x", False),
        ("radio.example", "http://[64:ff9b::10.0.0.1]/x", False),
        ("radio.example", "http://nowhere.example/x", False),
        ("camera.lan", "http://edge.example/x", False),
        ("camera.lan", "http://router.lan/x", False),
        ("camera.lan", "https://camera.lan/x", True),
        ("camera.lan", "http://camera.lan:8080/x", False),
        ("camera.lan", "http://camera.lan:99999/x", False),
    ],
)
def test_a_public_server_may_lead_to_another_one_only(
    first: str, to: str, *, followed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"radio.example": "93.184.215.14", "edge.example": "2606:2800:21f:cb07::1"}
    known |= {"camera.lan": "192.168.1.9", "router.lan": "fd00::1"}

    def look_up(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host == "nowhere.example":
            raise socket.gaierror
        return [(0, 0, 0, "", (known.get(host, host), port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    fetcher = Fetcher(f"http://{first}/live", timeout_s=1)
    refused = contextlib.nullcontext() if followed else pytest.raises(UnavailableError)
    with refused:
        fetcher._check_redirect(to, "a redirect")


def public(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Have loopback taken for public, and those names lead there: FFmpeg knows none of them."""
    look_up = socket.getaddrinfo

    def known(host: str, *more: Any, **options: Any) -> Any:
        return look_up("127.0.0.1" if host in names else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", known)
    monkeypatch.setattr(fetch, "are_public", lambda addresses: "127.0.0.1" in addresses)


def test_a_name_that_was_looked_at_is_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, other: Hostile
) -> None:
    public(monkeypatch, "edge.example")
    for way in (redirects, lambda to: redirects(to.replace("//", "//user:secret@"))):
        with serving(way(f"http://edge.example:{other.port}/a?b=c")) as source:
            assert read(source.url()) == 48_000
    for request in other.requests:
        assert request.startswith("GET /a?b=c HTTP/1.1\r\n")
        assert f"\r\nHost: edge.example:{other.port}\r\n" in request


def test_where_one_address_does_not_answer_another_does(
    monkeypatch: pytest.MonkeyPatch, other: Hostile
) -> None:
    found = ["127.0.0.2", "127.0.0.1"]  # the server listens at the second alone
    monkeypatch.setattr(
        fetch, "addresses_of", lambda server: found if server.host == "edge.example" else found[1:]
    )
    monkeypatch.setattr(fetch, "are_public", lambda addresses: "127.0.0.1" in addresses)
    with serving(redirects(f"http://edge.example:{other.port}/a")) as source:
        assert read(source.url()) == 48_000


@pytest.mark.parametrize(
    ("name", "trusted", "heard"),
    [("localhost", True, True), ("localhost", False, False), ("other.example", True, False)],
)
def test_a_server_that_another_leads_to_proves_its_name(
    name: str, *, trusted: bool, heard: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = make_certificates(tmp_path, f"DNS:{name}")
    monkeypatch.setenv("SSL_CERT_FILE", str(made.ca if trusted else made.other_ca))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.server, made.server_key)
    body = wav_head(48_000, bits=16, size=96_000) + tone()
    public(monkeypatch)
    with serving(sends("audio/wav", body), tls=context) as edge:
        with serving(redirects(f"https://localhost:{edge.port}/a")) as source:
            refused = contextlib.nullcontext() if heard else pytest.raises(UnavailableError)
            with refused:
                assert read(source.url()) == 48_000
        assert bool(edge.paths) is heard
        # A camera signs its own, and is asked by its own address.
        assert read(edge.url("/live", "https").replace("127.0.0.1", "localhost")) == 48_000


@pytest.mark.parametrize("allowed", ["*.example", "*.cams.example:{port}", "edge.cams.example"])
def test_names_below_one_are_allowed_together(
    allowed: str, monkeypatch: pytest.MonkeyPatch, other: Hostile
) -> None:
    host = allowed.format(port=other.port)
    fetcher = Fetcher("http://127.0.0.1/live", timeout_s=1, other_hosts=[host])
    fetcher._check(f"http://edge.cams.example:{other.port}/x", "its playlist")
    for elsewhere in (
        "http://cams.example.org/x",
        "http://xcams.example.org/x",
        "http://10.0.0.1/",
    ):
        with pytest.raises(UnavailableError):
            fetcher._check(elsewhere, "its playlist")


@pytest.mark.parametrize("followed", [True, False])
def test_segments_are_redirected_as_the_stream_is(
    monkeypatch: pytest.MonkeyPatch, hls: dict[str, bytes], *, followed: bool
) -> None:
    if followed:
        public(monkeypatch, "edge.example")
    else:
        monkeypatch.setattr(fetch, "are_public", lambda _: False)

    def edge(connection: socket.socket, path: str) -> None:
        sends("video/mp2t", hls[path])(connection, path)

    def answer(connection: socket.socket, path: str) -> None:
        if path == "/live":
            sends(M3U8, hls["/ts.m3u8"])(connection, path)
        else:
            redirects(f"http://edge.example:{server.port}{path}")(connection, path)

    with serving(edge) as server, serving(answer) as source:
        if followed:
            assert read(source.url()) == pytest.approx(3 * 48_000, abs=4096)
            return
        with pytest.raises(UnavailableError, match="a redirect in its playlist leads to another"):
            read(source.url())
        assert server.paths == []


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_what_states_no_length_ends_with_its_connection(
    version: str, hls: dict[str, bytes]
) -> None:
    def answer(connection: socket.socket, path: str) -> None:
        body = hls["/ts.m3u8" if path == "/live" else path]
        connection.sendall(f"HTTP/{version} 200 OK\r\n\r\n".encode() + body)

    with serving(answer) as source:
        assert read(source.url()) == pytest.approx(3 * 48_000, abs=4096)


def test_what_states_a_length_and_breaks_off_is_told() -> None:
    body = wav_head(48_000, bits=16, size=96_000) + tone()
    with (
        serving(
            lambda connection, _: connection.sendall(head("audio/wav", len(body)) + body[:-5000])
        ) as source,
        pytest.raises(UnavailableError, match="Input/output error"),
    ):
        read(source.url())


def test_all_redirects_together_have_no_more_time_than_a_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])

    def answer(connection: socket.socket, path: str) -> None:
        now_s[0] += 0.4
        redirects("/live")(connection, path)

    with serving(answer) as source:
        with pytest.raises(UnavailableError, match="no audio within the time limit"):
            Fetcher(source.url(), timeout_s=1).main()
        assert len(source.paths) == 8  # two for each: more than three times the limit


@pytest.fixture(scope="module")
def hls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """HLS as cameras send it: transport streams, parts of an MP4, encrypted."""
    folder = tmp_path_factory.mktemp("hls")
    (folder / "secret.key").write_bytes(bytes(range(16)))
    (folder / "keys").write_text(f"secret.key\n{folder / 'secret.key'}\n", "utf-8")
    parts = ("-hls_segment_type", "fmp4", "-hls_flags", "single_file")
    encrypted = ("-hls_key_info_file", folder / "keys")
    for name, options in {"ts": (), "mp4": parts, "aes": encrypted}.items():
        source = ("-f", "lavfi", "-i", "sine=1000:r=48000", "-t", "3", "-c:a", "aac")
        how = ("-hls_time", "1", "-hls_list_size", "0", *options)
        command = ["ffmpeg", "-v", "error", *source, *how, folder / f"{name}.m3u8"]
        subprocess.run(command, check=True)
    return {f"/{file.name}": file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("kind", ["ts", "aes"])
@pytest.mark.parametrize("suffix", ["", ".m3u8"])
def test_hls_is_heard_whatever_its_address_is_called(
    kind: str, suffix: str, hls: dict[str, bytes]
) -> None:
    def answer(connection: socket.socket, path: str) -> None:
        body = hls[f"/{kind}.m3u8" if path == f"/live{suffix}" else path]
        sends("text/plain", body)(connection, path)

    with serving(answer) as source:
        samples = read(source.url(f"/live{suffix}"))
    assert samples == pytest.approx(3 * 48_000, abs=4096)


def test_hls_is_heard_in_however_small_pieces_it_comes(hls: dict[str, bytes]) -> None:
    def answer(connection: socket.socket, path: str) -> None:
        body = hls["/ts.m3u8" if path == "/live" else path]
        if path != "/live":
            sends("text/plain", body)(connection, path)
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(head("text/plain", len(body)))
        for piece in (body[:3], body[3:12], body[12:40], body[40:]):
            connection.sendall(piece)
            time.sleep(0.1)

    with serving(answer) as source:
        assert read(source.url()) == pytest.approx(3 * 48_000, abs=4096)


def test_a_recording_is_sought_in(tmp_path: Path) -> None:
    """An MP4 whose index is at its end."""
    file = tmp_path / "a.mp4"
    tones = ("-f", "lavfi", "-i", "sine=1000:r=48000", "-t", "20", "-c:a", "aac", "-b:a", "256k")
    subprocess.run(["ffmpeg", "-v", "error", *tones, file], check=True)
    data = file.read_bytes()
    assert data.index(b"moov") > 300_000
    assert read_with_ranges(data) == pytest.approx(20 * 48_000, abs=4096)


def test_the_parts_of_an_mp4_are_asked_for_one_by_one(hls: dict[str, bytes]) -> None:
    assert read_with_ranges(hls["/mp4.m3u8"], hls) == pytest.approx(3 * 48_000, abs=4096)


def read_with_ranges(main: bytes, files: dict[str, bytes] | None = None) -> int:
    """Samples that come of a server that sends parts of what it has."""
    bodies = {"/live": main, **(files or {})}

    def answer(connection: socket.socket, request: str) -> None:
        path, _, asked = request.partition(" ")
        begin, _, end = asked.partition("-")
        whole = bodies[path]
        part = whole[int(begin or 0) : int(end) + 1 if end else None]
        first = int(begin or 0)
        lines = (
            "HTTP/1.1 206 Partial Content",
            f"Content-Range: bytes {first}-{first + len(part) - 1}/{len(whole)}",
            f"Content-Length: {len(part)}",
            "Connection: close",
        )
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + part)

    with serving(answer, ranges=True) as source:
        return read(source.url())


def test_bytes_without_audio_are_too_much_at_some_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_SILENT_BYTES", 100_000)
    fetcher = Fetcher("http://camera/live", timeout_s=1)
    for _ in range(5):
        assert fetcher.count(90_000)
        fetcher.heard()
    assert fetcher.count(90_000)
    with pytest.raises(TooCostlyError, match="no audio in 0 MB"):
        fetcher.count(90_000)
    assert not fetcher.count(1)  # said once
    with pytest.raises(TooCostlyError):
        fetcher.heard()
