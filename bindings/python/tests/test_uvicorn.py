"""Small ASGI applications under uvicorn and under the asyncio worker: what a client and an application
see is the same."""

import json

import pytest
from apps import asgi_small

APP = "apps.asgi_small:app"

#: What each server is free to choose.
FREE = ("date", "server", "content-length", "transfer-encoding", "connection")

#: Answers of the server's own, which are worded differently.
FAULTS = ("/before", "/returns", "/wrong_first")

WIRES = [
    b"GET /a%20b/%E2%82%AC?q=%20&r HTTP/1.1\r\nHost: example.org\r\n",
    b"GET /%ff%2Fx//y;z=1 HTTP/1.1\r\nHost: example.org:81\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nX-Two: a\r\nx-two: b\r\nX-Case: Kept\r\nCookie: a=1\r\nCookie: b=2\r\n",
    b"GET /x? HTTP/1.1\r\nHost: h\r\nX-Name: Zo\xeb\r\nX_Under: score\r\n",
    b"GET /10 HTTP/1.0\r\n",
    b"OPTIONS /x HTTP/1.1\r\nHost: h\r\n",
    b"DELETE /x HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YTpi\r\n",
    b"PROPFIND /x HTTP/1.1\r\nHost: h\r\n",
    b"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n",
    b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n",
]


@pytest.fixture(scope="module")
def both(serve_module):
    ours = serve_module(APP, worker="asyncio")
    theirs = serve_module(APP, "uvicorn")
    for site in (ours, theirs):
        site.expected.append("expected by the test")
    theirs.expected.append("Expected ASGI message")
    ours.expected.append("was expected")
    return ours, theirs


def seen(answer):
    headers = [(name.lower(), value) for name, value in answer.headers if name.lower() not in FREE]
    return answer.status, sorted(headers), answer.body


@pytest.mark.parametrize("path", sorted(asgi_small.APPS))
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "chunked"])
def test_answers_are_the_same(both, path, method):
    results = []
    # A body that is not read must come with the head, or it is the client that fails.
    sizes = (5, 5) if path in FAULTS else (70_000, 100_000)
    for site in both:
        if method == "chunked":
            with site.connect() as wire:
                head = b"POST %s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" % path.encode()
                wire.send(head + b"a\r\n0123456789\r\n%x\r\n%s\r\n0\r\n\r\n" % (sizes[1], b"b" * sizes[1]))
                answer = wire.answer()
        else:
            answer = site.request(method, path, b"c" * sizes[0] if method == "POST" else None)
        results.append(seen(answer))
    if path in FAULTS:
        assert [status for status, *_ in results] == [500, 500]
    else:
        assert results[0] == results[1]


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.split(b" HTTP")[0].decode("latin-1"))
def test_scopes_are_the_same(both, wire):
    scopes = []
    for site in both:
        with site.connect() as connection:
            tail = b"0\r\n\r\n" if b"chunked" in wire else b"abc" if b"PUT" in wire else b""
            connection.send(wire + b"Connection: close\r\n\r\n" + tail)
            answer = connection.answer()
            assert answer.status == 200, answer
            scopes.append(json.loads(answer.body))
    assert scopes[0] == scopes[1]


def test_keep_alive_and_pipelining_are_the_same(both):
    for site in both:
        with site.connect() as wire:
            wire.send(b"GET /plain HTTP/1.1\r\nHost: h\r\n\r\nGET /pieces HTTP/1.1\r\nHost: h\r\n\r\n")
            assert [wire.answer().body, wire.answer().body] == [b"plain", b"one two three"]
            wire.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi")
            assert wire.answer().body == b"hi"
