"""What an HTTP source makes us fetch: nothing but what is on its server, unless it is allowed."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import av.error
import pytest
from audio.hostile_servers import Handler, Hostile, head, serving, tone, wav_head
from mosquitto import make_certificates

from pe_stream.audio import allowed_servers, fetch, limits
from pe_stream.audio.fetch import Fetcher
from pe_stream.audio.limits import TooCostlyError
from pe_stream.audio.opening import open_network
from pe_stream.audio.servers import PORTS
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


def public(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Have loopback taken for public, and those names lead there: FFmpeg knows none of them."""
    look_up = socket.getaddrinfo

    def known(host: str, *more: Any, **options: Any) -> Any:
        return look_up("127.0.0.1" if host in names else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", known)
    monkeypatch.setattr(allowed_servers, "are_public", lambda addresses: "127.0.0.1" in addresses)


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


def leading(monkeypatch: pytest.MonkeyPatch, name: str, *found: str) -> None:
    """Have that name stand for those addresses when it is looked at, and all be public."""
    monkeypatch.setattr(
        allowed_servers,
        "addresses_of",
        lambda server: list(found) if server.host == name else ["127.0.0.1"],
    )
    monkeypatch.setattr(allowed_servers, "are_public", bool)


def test_where_one_address_does_not_answer_another_does(
    monkeypatch: pytest.MonkeyPatch, other: Hostile
) -> None:
    # The server listens at the second alone.
    leading(monkeypatch, "edge.example", "127.0.0.2", "127.0.0.1")
    with serving(redirects(f"http://edge.example:{other.port}/a")) as source:
        assert read(source.url()) == 48_000


@pytest.mark.parametrize("tls", [False, True])
def test_a_redirect_is_followed_from_the_address_that_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, other: Hostile, *, tls: bool
) -> None:
    leading(monkeypatch, "localhost", "127.0.0.2", "127.0.0.1")
    context = None
    if tls:
        made = make_certificates(tmp_path, "DNS:localhost")
        monkeypatch.setenv("SSL_CERT_FILE", str(made.ca))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.server, made.server_key)
    with serving(redirects(other.url("/a")), tls=context) as edge:
        to = edge.url("/b", "https" if tls else "http").replace("127.0.0.1", "localhost")
        with serving(redirects(to)) as source:
            assert read(source.url()) == 48_000


@pytest.mark.parametrize("redirected", [False, True])
def test_the_address_that_answers_is_asked_first_from_then_on(
    monkeypatch: pytest.MonkeyPatch, other: Hostile, *, redirected: bool
) -> None:
    leading(monkeypatch, "edge.example", "127.0.0.2", "127.0.0.1")
    with contextlib.ExitStack() as stack:
        last = stack.enter_context(serving(redirects(other.url()))) if redirected else other
        to = f"http://edge.example:{last.port}/a"
        source = stack.enter_context(serving(redirects(to)))
        fetcher = Fetcher(source.url(), timeout_s=3)
        fetcher.main().close()
        assert fetcher._servers.addresses(to) == ["127.0.0.1", "127.0.0.2"]


@pytest.mark.parametrize("closing", [False, True])
def test_addresses_that_are_silent_have_the_time_of_a_stream(
    monkeypatch: pytest.MonkeyPatch, *, closing: bool
) -> None:
    leading(monkeypatch, "edge.example", *(f"127.0.1.{number}" for number in range(1, 21)))
    asked: list[float] = []
    closed = threading.Event()
    opening = av.open

    def counted(url: str, *more: Any, **options: Any) -> Any:
        if "127.0.1." in url:
            asked.append(time.monotonic())
            if closing:
                closed.set()
        return opening(url, *more, **options)

    monkeypatch.setattr(av, "open", counted)
    with (
        socket.create_server(("0.0.0.0", 0)) as silent,
        serving(redirects(f"http://edge.example:{silent.getsockname()[1]}/a")) as source,
    ):
        fetcher = Fetcher(source.url(), timeout_s=0.2, closed=closed)
        with pytest.raises((UnavailableError, av.error.FFmpegError)):
            fetcher.main()
    assert len(asked) == 1 if closing else 2 <= len(asked) <= 4


@pytest.mark.parametrize("excepted", [True, False])
def test_a_server_without_a_proxy_is_asked_at_its_address(
    monkeypatch: pytest.MonkeyPatch, other: Hostile, *, excepted: bool
) -> None:
    """FFmpeg is not to ask the proxy for the address, where it is told not to for the name."""
    public(monkeypatch, "edge.example")
    body = wav_head(48_000, bits=16, size=96_000) + tone()
    with (
        serving(sends("audio/wav", body)) as proxy,
        serving(redirects(f"http://edge.example:{other.port}/a")) as source,
    ):
        monkeypatch.setenv("http_proxy", proxy.url(""))
        monkeypatch.setenv("no_proxy", "localhost,edge.example" if excepted else "localhost")
        assert read(source.url().replace("127.0.0.1", "localhost")) == 48_000
        assert bool(other.paths) is excepted
        assert bool(proxy.paths) is not excepted


@pytest.mark.parametrize("way", ["redirect", "segment"])
@pytest.mark.parametrize("trusted", [True, False])
def test_a_server_that_was_looked_at_proves_its_name_over_tls(
    way: str,
    hls: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    trusted: bool,
) -> None:
    """Whoever answers for its name might say another one meanwhile, of the house."""
    made = make_certificates(tmp_path, "DNS:localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(made.ca if trusted else made.other_ca))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.server, made.server_key)
    leading(monkeypatch, "localhost", "127.0.0.1")
    with serving(sends("video/mp2t", hls["/ts0.ts"]), tls=context) as house:
        to = house.url("/x.ts", "https").replace("127.0.0.1", "localhost")

        def answer(connection: socket.socket, path: str) -> None:
            leading(monkeypatch, "localhost", "192.168.1.1")  # known to be public, but not asked
            monkeypatch.setattr(allowed_servers, "are_public", lambda _: False)
            WAYS[way](to, "")(connection, path)

        with serving(answer) as edge:
            monkeypatch.setitem(PORTS, "http", edge.port)
            monkeypatch.setitem(PORTS, "https", house.port)
            with serving(redirects(edge.url().replace("127.0.0.1", "localhost"))) as source:
                refused = contextlib.nullcontext() if trusted else pytest.raises(UnavailableError)
                with refused:
                    assert read(source.url()) == pytest.approx(48_000, abs=4096)
        assert bool(house.paths) is trusted


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


@pytest.mark.parametrize("followed", [True, False])
def test_segments_are_redirected_as_the_stream_is(
    monkeypatch: pytest.MonkeyPatch, hls: dict[str, bytes], *, followed: bool
) -> None:
    if followed:
        public(monkeypatch, "edge.example")
    else:
        monkeypatch.setattr(allowed_servers, "are_public", lambda _: False)

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


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<html><body>Please log in</body></html>"),
        ("audio/x-mpegurl", b"http://radio/live\n"),
    ],
)
def test_a_page_or_a_list_of_addresses_is_no_audio_and_the_error_says_so(
    kind: str, body: bytes
) -> None:
    told = r"no audio .* \(\.m3u, \.pls\), give the address"
    with (
        serving(sends(kind, body)) as server,
        pytest.raises(UnavailableError, match=told),
    ):
        read(server.url())


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


def test_after_an_error_nothing_is_read_elsewhere() -> None:
    def answer(connection: socket.socket, request: str) -> None:
        begin = int(request.partition(" ")[2].partition("-")[0])
        lines = f"Content-Range: bytes {begin}-8/9\r\nContent-Length: {9 - begin}\r\n\r\n"
        answered = f"HTTP/1.1 206 Partial Content\r\n{lines}{'123456789'[begin:]}"
        connection.sendall(answered.encode())

    with serving(answer, ranges=True) as source:
        fetcher = Fetcher(source.url(), timeout_s=3)
        body = fetcher.main()
        body.allow_seeking()
        assert body.seek(5) == 5
        assert body.read(2) == b"67"
        body.seek(1)
        fetcher.error = UnavailableError("no more")
        assert body.read(2) == b""
        body.close()
        assert len(source.paths) == 3


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
