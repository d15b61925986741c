"""The same applications under wsgiref, gunicorn and libgateway: the same answers, closes and environs.

Where they are not the same there is a reason in the tables below, and the difference is tested, too:
a reason that has gone is an error.
"""

import copy
import json

import pytest

ADDED = {"server", "date", "connection", "transfer-encoding"}
"""What servers add as they like.  Content-Length is compared where both have it."""

# ---- applications: the name, and why wsgiref, or gunicorn, is different ----

SAME = """a_list a_list_of_one a_tuple a_tuple_of_one a_generator a_generator_expression an_iterator a_map
a_list_that_starts_late by_index empty_chunks by_class by_instance by_method by_write by_write_alone
by_write_in_next by_keywords with_exc_info_at_once an_empty_list an_empty_generator one_empty_chunk
many_headers closed closed_when_empty closed_with_length read_nothing file_plain file_open
file_unbuffered file_empty file_with_length file_in_memory file_without_close
file_subclass_of_wrapper file_iterated file_pipe environ_is_mine not_modified no_content redirects
with_length with_date_and_server big form method echo-status?3230312043726561746564207477696365
echo-status?616263 raises raises_after_start raises_in_iter raises_in_next raises_in_close
raises_system_exit returns_none twice headers_are_a_tuple status_is_bytes status_is_a_number
name_is_bytes value_is_bytes value_is_a_number value_has_a_newline hop_by_hop"""

HEAD_LOST = "the exception finds the head sent, by an empty chunk or none: a cut instead of a 500"
NO_STATUS = "an answer without a status line"
CUT = "we reset a connection whose answer is cut, so that nobody takes it for whole"
SENT_EARLY = "its head is sent before the first chunk that is not empty"

DIFFERENT = {
    # name: (why wsgiref is different, why gunicorn is)
    "replaced": (None, "the headers of the first head stay beside those that replace them"),
    "replaced_in_next": (SENT_EARLY, SENT_EARLY),
    "the_list_is_copied": ("it reads the list when the head is sent", None),
    "a_subclass_of_bytes": ("bytes, and nothing that is bytes, too", None),
    "by_long_keywords": ("PEP 3333 calls it response_headers, wsgiref headers; we know both", "only headers"),
    "echo-status?323030": ("a status needs a reason", "no reason; we add that of RFC 9110"),
    "closed_without_start": (None, NO_STATUS),
    "never_started": (None, NO_STATUS),
    "never_started_generator": (None, NO_STATUS),
    "raises_behind_a_chunk": (CUT, CUT),
    "late_exc_info": (CUT, CUT),
    "returns_bytes": (None, HEAD_LOST),
    "chunk_is_str": (None, HEAD_LOST),
    "chunk_is_a_bytearray": (None, HEAD_LOST),
    "file_text": (None, HEAD_LOST),
    "file_offset": (None, "it sends from where the descriptor is, behind what the buffer has read ahead"),
    "file_subclass": (None, "a descriptor is enough for it to pass by read()"),
    "file_gzip": (None, "it sends the compressed file of a GzipFile"),
}

CASES = [(name, None, None) for name in SAME.split()] + [(name, *why) for name, why in DIFFERENT.items()]


@pytest.fixture(scope="module")
def sites(serve_module):
    found = {kind: serve_module("apps.conform", kind) for kind in ("serve", "wsgiref", "gunicorn")}
    for site in found.values():
        site.expected.append("")  # what the log has is not compared
    return found


def seen(site, method, name):
    """What a client sees, and how often close was called for it."""
    body = b"a=1&b=2" if method == "POST" else b""
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    line = f"{method} /{name.replace('_', '-')} HTTP/1.1".encode()
    before = len(site.notes())
    try:
        with site.connect() as wire:
            # In one piece: wsgiref leaves what it has not read to be reset.
            wire.send(line + b"\r\nHost: x\r\n" + length + b"\r\n" + body)
            answer = wire.answer(method)
        headers = sorted((key.lower(), value) for key, value in answer.headers if key.lower() not in ADDED)
        saw = [answer.status, answer.reason, headers, answer.body]
        if answer.status == 500:
            saw = [500]  # each has a page of its own
    except (OSError, EOFError, ValueError) as error:
        saw = [type(error).__name__]
    assert site.get("/a-list").body == b"one two"  # behind the close, with one worker
    return saw, sum(note.startswith("close") for note in site.notes()[before:])


def compare(ours, theirs):
    (saw, closes), (other, their_closes) = copy.deepcopy((ours, theirs))
    if len(saw) == len(other) == 4:
        both = {key for key, _ in saw[2]} & {key for key, _ in other[2]}
        for each in (saw, other):
            each[2] = [pair for pair in each[2] if pair[0] != "content-length" or "content-length" in both]
    return saw == other and closes == their_closes


@pytest.mark.parametrize("name, wsgiref, gunicorn", CASES)
def test_an_application(sites, name, wsgiref, gunicorn):
    methods = ("GET", "HEAD", "POST")
    ours_by = {method: seen(sites["serve"], method, name) for method in methods}
    for kind, reason in (("wsgiref", wsgiref), ("gunicorn", gunicorn)):
        same = []
        for method in methods:
            ours, theirs = ours_by[method], seen(sites[kind], method, name)
            same.append(compare(ours, theirs))
            assert same[-1] or reason, (kind, method, ours, theirs)
        assert not (reason and all(same)), f"{kind} does the same by now: {reason}"


# ---- the environ ----

OURS = {
    # what we have beside PEP 3333, and beside what the others have
    "GATEWAY_INTERFACE": "of CGI; wsgiref has it, too",
    "REMOTE_ADDR": "of CGI; the others have it, too",
    "REMOTE_PORT": "of nginx; gunicorn has it, too",
    "REQUEST_URI": "of Apache and nginx: what gunicorn calls RAW_URI",
    "SERVER_SOFTWARE": "of CGI; the others have it, too",
    "gateway.version": "the version of the library",
    "wsgi.early_hints": "as gunicorn has it",
    "wsgi.file_wrapper": "of PEP 3333, optional; the others have it, too",
    "wsgi.input_terminated": "reads end at the end of the body, whatever its framing; gunicorn has it, too",
}

PEP = {
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "wsgi.version",
    "wsgi.url_scheme",
    "wsgi.input",
    "wsgi.errors",
    "wsgi.multithread",
    "wsgi.multiprocess",
    "wsgi.run_once",
}

REQUESTS = {
    "plain": b"GET /show HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "query": b"GET /show?a=1&b=%C3%A9+x?y HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "empty query": b"GET /show? HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "escapes": b"GET /show/%63%61f%C3%A9%20%25 HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "HTTP/1.0": b"GET /show HTTP/1.0\r\n\r\n",
    "post": b"POST /show HTTP/1.1\r\nHost: a\r\nContent-Type: a/b; c=d\r\nContent-Length: 3\r\n\r\nabc",
    "no type": b"POST /show HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc",
    "headers": b"GET /show HTTP/1.1\r\nHost: a.example:81\r\nX-A: 1\r\naccept:  */* \r\nX-Empty:\r\n"
    b"Cookie: a=1; b=2\r\nUser-Agent: caf\xe9\r\nAuthorization: Basic eA==\r\n\r\n",
    "twice": b"GET /show HTTP/1.1\r\nHost: a.example\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
    "custom method": b"BREW /show HTTP/1.1\r\nHost: a.example\r\n\r\n",
}

ENVIRON_DIFFERENT = {
    # (server, request or None for all, variable): why
    ("wsgiref", None, "CONTENT_TYPE"): "it makes one up, text/plain",
    ("wsgiref", None, "CONTENT_LENGTH"): "it has an empty one where there is none",
}


def environ_of(site, octets):
    with site.connect() as wire:
        wire.send(octets)
        answer = wire.answer()
    assert answer.status == 200, answer
    return json.loads(answer.body)


@pytest.fixture(scope="module")
def shows(serve_module):
    return {kind: serve_module("apps.conform:show", kind) for kind in ("serve", "wsgiref", "gunicorn")}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_environ(shows, name):
    ours = environ_of(shows["serve"], REQUESTS[name])
    assert PEP <= set(ours)
    http = {key for key in ours if key.startswith("HTTP_")} | {"CONTENT_TYPE", "CONTENT_LENGTH"}
    assert set(ours) - PEP - http - set(OURS) == set()
    for kind in ("wsgiref", "gunicorn"):
        theirs = environ_of(shows[kind], REQUESTS[name])
        keys = {key for key in {**ours, **theirs} if key in PEP or key.startswith(("HTTP_", "CONTENT_"))}
        for key in sorted(keys - {"wsgi.input", "wsgi.errors", "SERVER_PORT"}):
            if (kind, None, key) not in ENVIRON_DIFFERENT:
                assert ours.get(key) == theirs.get(key), (kind, key)
    assert ours["SERVER_PORT"] == str(shows["serve"].port)


def test_what_the_others_do_otherwise_they_do(shows):
    for kind, _, key in ENVIRON_DIFFERENT:
        theirs = environ_of(shows[kind], REQUESTS["plain"])
        assert theirs.get(key) != environ_of(shows["serve"], REQUESTS["plain"]).get(key), (kind, key)
