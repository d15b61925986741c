"""What one request had is not in the next one's environ: it is made from that of the one before."""

import json
import random
import struct

import pytest

SPELLINGS = ["X-One", "x-one", "X-ONE"]
WORDS = ["", "a", "b", "caf\xe9", "long " * 60]
ALWAYS = {"SERVER_SOFTWARE", "GATEWAY_INTERFACE", "gateway.version", "wsgi.url_scheme", "REMOTE_PORT"}


@pytest.fixture(scope="module")
def site(serve_module):
    return serve_module("apps.shows", limit_request_fields=500)


def packet(variables):
    """A request of the uwsgi protocol."""
    octets = b"".join(
        struct.pack("<H", len(each)) + each for pair in variables for each in (s.encode("latin-1") for s in pair)
    )
    return struct.pack("<BHB", 0, len(octets), 0) + octets


def expected(method, target, fields):
    """The variables that come of a request; RFC 3875, RFC 9110 section 5.3."""
    path, _, query = target.partition("?")
    found = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_URI": target}
    for name, value in fields:
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        joined = "; " if key == "HTTP_COOKIE" else ","
        found[key] = found[key] + joined + value if key in found else value
    return found


def different(environ, wanted):
    """What is not as it is wanted; what every request has is left out."""
    has = {key: value for key, value in environ.items() if key not in ALWAYS}
    return {key: (has.get(key), wanted.get(key)) for key in has.keys() | wanted.keys() if has.get(key) != wanted.get(key)}


def test_requests_by_chance(site):
    chance = random.Random(3333)
    with site.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        first = json.loads(wire.answer().body)
        same = {key: first[key] for key in ("SCRIPT_NAME", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL", "REMOTE_ADDR")}
        for _ in range(400):
            method = chance.choice(["GET", "POST"])
            target = "/" + chance.choice(["", "a", "b?c=d", "b?"])
            fields = [("Host", chance.choice(["x", "example.org:80"]))]
            for name in ["Accept", "Cookie", "Authorization", "X-Two", chance.choice(SPELLINGS)]:
                fields += [(name, chance.choice(WORDS).strip()) for _ in range(chance.choice([0, 1, 1, 2]))]
            if chance.random() < 0.1:
                fields += [(f"X-{chance.randrange(10**6)}", "1") for _ in range(chance.choice([1, 40, 300]))]
            chance.shuffle(fields)
            if method == "POST":
                fields += [("Content-Length", chance.choice(["0", "3"]))]
                fields += [("Content-Type", "text/plain")] * chance.choice([0, 1])
            body = "xxx" if ("Content-Length", "3") in fields else ""
            head = "".join(f"{name}: {value}\r\n" for name, value in fields)
            wire.send(f"{method} {target} HTTP/1.1\r\n{head}\r\n{body}".encode("latin-1"))
            environ = json.loads(wire.answer().body)
            assert different(environ, same | expected(method, target, fields)) == {}, fields
            assert {key: environ[key] for key in ALWAYS} == {key: first[key] for key in ALWAYS}


def test_a_front_by_chance(serve):
    site = serve("apps.shows", bind="uwsgi+fd://{fd}")
    chance = random.Random(3875)
    always = [("REQUEST_METHOD", "GET"), ("SERVER_PROTOCOL", "HTTP/1.1"), ("SERVER_NAME", "x"), ("SERVER_PORT", "80")]
    for _ in range(300):
        variables = list(always)
        variables += [("PATH_INFO", "/" + chance.choice("ab")), ("QUERY_STRING", chance.choice(["", "q"]))]
        for name in ["HTTP_HOST", "HTTP_COOKIE", "REMOTE_USER", "DOCUMENT_ROOT", "X_OWN", "REQUEST_URI"]:
            if chance.random() < 0.5:
                variables.append((name, chance.choice(["/1", "/2", "/caf\xe9"])))
        https = chance.random() < 0.3
        if https:
            variables.append(("HTTPS", "on"))
        if chance.random() < 0.05:
            variables += [(f"MANY_{chance.randrange(10**6)}", "1") for _ in range(300)]
        with site.connect() as wire:
            wire.send(packet(variables))
            environ = json.loads(wire.answer().body)
        assert environ["wsgi.url_scheme"] == ("https" if https else "http")
        assert environ["SERVER_SOFTWARE"].startswith("libgateway/")
        wanted = dict(variables)
        for name, preset in [("SCRIPT_NAME", ""), ("REMOTE_ADDR", "127.0.0.1")]:
            wanted.setdefault(name, preset)
        wanted.setdefault("REQUEST_URI", environ["REQUEST_URI"])
        assert different(environ, wanted) == {}
