"""Starlette and FastAPI as they are, on the asyncio worker."""

import gzip
import json
import signal
from urllib.parse import urlencode

import harness
import pytest

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def site(serve_module):
    return serve_module("apps.stars:app", worker="asyncio", workers=2)


@pytest.fixture(scope="module")
def fast(serve_module):
    return serve_module("apps.stars:fast", worker="asyncio")


def multipart(fields, name, data):
    """(body, headers) of a form with a file."""
    boundary = b"a-boundary-of-a-test"
    parts = [b'Content-Disposition: form-data; name="%s"\r\n\r\n%s' % each for each in fields]
    parts.append(
        b'Content-Disposition: form-data; name="file"; filename="%s"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%s" % (name, data)
    )
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts) + b"--%s--\r\n" % boundary
    return body, {"Content-Type": "multipart/form-data; boundary=" + boundary.decode()}


def test_sessions_and_state(site):
    first = site.get("/")
    assert first.text == "1 open"
    cookie = first["set-cookie"].split(";")[0]
    assert site.get("/", {"Cookie": cookie}).text == "2 open"


def test_forms(site):
    answer = site.post("/form", urlencode([("name", "Zoë"), ("colour", "red"), ("colour", "blue")]), FORM)
    assert json.loads(answer.body) == {"name": "Zoë", "colours": ["red", "blue"]}


@pytest.mark.parametrize("chunked", [False, True])
def test_uploads(site, chunked):
    data = bytes(range(256)) * 8192
    body, headers = multipart([(b"note", b"a note")], b"data.bin", data)
    pieces = (body[at : at + 50_000] for at in range(0, len(body), 50_000))
    answer = site.post("/upload", pieces if chunked else body, headers)
    assert json.loads(answer.body) == {
        "name": "data.bin",
        "size": len(data),
        "sum": sum(data),
        "note": "a note",
    }


def test_streams(site):
    assert site.get("/stream?n=300").text == "".join(f"line {number}\n" for number in range(300))
    answer = site.get("/stream?n=300", {"Accept-Encoding": "gzip"})
    assert answer["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body).endswith(b"line 299\n")


def test_a_stream_whose_client_leaves_is_closed(serve):
    site = serve("apps.stars:app", worker="asyncio")
    with site.connect() as wire:
        wire.send(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n")
        wire.exactly(200_000)
        wire.reset()
    site.expect_note("stream closed")


def test_events_whose_client_leaves(serve):
    site = serve("apps.stars:app", worker="asyncio")
    with site.connect() as wire:
        wire.send(b"GET /events HTTP/1.1\r\nHost: h\r\n\r\n")
        assert wire.head()[0] == 200
        assert wire.chunk() == b"data: first\n\n"
    site.expect_note("events disconnected")


def test_the_body_is_there_while_it_comes(serve):
    site = serve("apps.stars:app", worker="asyncio")
    with site.connect() as wire:
        wire.send(b"POST /swallow HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345")
        site.expect_note("first piece")
        wire.send(b"67890")
        assert wire.answer().body == b"10"
    with site.connect() as wire:
        wire.send(b"POST /swallow HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345")
        site.expect_note("first piece", 2)
    site.expect_note("ClientDisconnect")
    site.expected.append("ClientDisconnect")


def test_files(site):
    source = (harness.HERE / "apps" / "stars.py").read_bytes()
    answer = site.get("/file")
    assert answer.body == source and int(answer["content-length"]) == len(source)
    assert 'filename="stars.py"' in answer["content-disposition"]
    assert site.head("/file")["content-length"] == str(len(source))
    part = site.get("/file", {"Range": "bytes=10-29"})
    assert (part.status, part.body) == (206, source[10:30])
    assert site.get("/static/stars.py").body == source
    assert site.get("/static/stars.py", {"If-None-Match": site.get("/static/stars.py")["etag"]}).status == 304


def test_background_tasks_and_threads(serve):
    site = serve("apps.stars:app", worker="asyncio")
    assert site.get("/background").text == "answered"
    site.expect_note("background")
    assert site.get("/blocking").text == "False"


def test_error_pages(serve):
    site = serve("apps.stars:app", worker="asyncio")
    assert (site.get("/nowhere").status, site.get("/nowhere").text) == (404, "<h1>no /nowhere</h1>")
    assert (site.get("/refused").status, site.get("/refused").text) == (403, "not you")
    answer = site.get("/boom")
    assert (answer.status, answer.text) == (500, "<h1>sorry: boom</h1>")
    site.expect_log("RuntimeError: boom")
    assert site.request("DELETE", "/form").status == 405


def test_urls(site):
    answer = site.get("/url?a=%20b")
    base = f"http://127.0.0.1:{site.port}"
    assert answer.text == f"{base}/url?a=%20b {base}/file 127.0.0.1"
    assert site.get("/redirect")["location"] == "/file"


def test_websockets_do_not_reach_it(site):
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert site.get("/socket", handshake).status == 501


def test_lifespan(serve):
    site = serve("apps.stars:app", worker="asyncio")
    assert site.get("/").status == 200
    assert site.stop(signal.SIGTERM) == 0
    assert site.notes() == ["startup", "shutdown"]


def test_fastapi(fast):
    answer = fast.post(
        "/items", json.dumps({"name": "pen", "price": 2.5}), {"Content-Type": "application/json"}
    )
    assert (answer.status, json.loads(answer.body)) == (201, {"name": "pen", "price": 2.5})
    answer = fast.post("/items", '{"name": "pen", "price": -1}', {"Content-Type": "application/json"})
    assert answer.status == 422 and "greater than 0" in answer.text
    assert json.loads(fast.get("/items/7?number=3").body) == {"id": 7, "page": 3, "resource": "resource"}
    fast.expect_note("closed")
    assert fast.get("/items/0").status == 404
    assert fast.get("/items/x").status == 422
    assert json.loads(fast.get("/openapi.json").body)["info"]["title"] == "Gateway"
    assert "swagger" in fast.get("/docs").text


def test_fastapi_uploads_streams_and_tasks(serve):
    site = serve("apps.stars:fast", worker="asyncio")
    body, headers = multipart([(b"note", b"n")], b"f.txt", b"z" * 200_000)
    assert json.loads(site.post("/upload", body, headers).body) == {
        "name": "f.txt",
        "size": 200_000,
        "note": "n",
    }
    assert site.get("/stream").text == "0\n1\n2\n"
    assert json.loads(site.post("/later").body) == {"accepted": True}
    site.expect_note("task done")
    assert (site.get("/boom").status, site.get("/boom").text) == (500, "Internal Server Error")
    site.expect_log("ValueError: fast boom")
