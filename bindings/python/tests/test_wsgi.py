"""PEP 3333, sentence by sentence: apps/conform.py has an application for each."""

import os
import re
import signal

import pytest

FILE = b"".join(b"%07d\n" % i for i in range(300000 // 8))


@pytest.fixture(scope="module")
def site(serve_module):
    return serve_module("apps.conform")


def path_of(name):
    return "/" + name.replace("_", "-")


# ---- what may be returned ----


@pytest.mark.parametrize(
    "name",
    """a_list a_list_of_one a_tuple a_tuple_of_one a_generator a_generator_expression an_iterator a_map
    a_list_that_starts_late by_index empty_chunks a_subclass_of_bytes by_class by_instance by_method by_write
    by_write_alone by_write_in_next by_keywords by_long_keywords with_exc_info_at_once replaced
    replaced_in_next""".split(),
)
def test_what_may_be_returned(site, name):
    answer = site.get(path_of(name))
    assert (answer.status, answer.reason, answer.body) == (200, "OK", b"one two")
    assert answer["content-type"] == "text/plain"
    assert answer["x-first"] is None
    answer = site.head(path_of(name))
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("name", ["an_empty_list", "an_empty_generator", "one_empty_chunk"])
def test_an_empty_body(site, name):
    answer = site.get(path_of(name))
    assert (answer.status, answer.body, answer["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize(
    "name, framing",
    [("a_list_of_one", ("7", None)), ("a_tuple_of_one", ("7", None)), ("a_generator", (None, "chunked"))],
)
def test_how_a_body_is_framed(site, name, framing):
    answer = site.get(path_of(name))
    assert (answer["content-length"], answer["transfer-encoding"]) == framing


def test_a_body_of_unknown_length_on_http_1_0_ends_with_the_connection(site):
    got = site.raw(b"GET /a-generator HTTP/1.0\r\n\r\n")
    assert got.endswith(b"\r\n\r\none two")
    assert b"chunked" not in got


# ---- status and headers ----


@pytest.mark.parametrize(
    "status, code, reason",
    [
        ("200 OK", 200, "OK"),
        ("200", 200, "OK"),
        ("200 ", 200, "OK"),
        ("404 Gone fishing", 404, "Gone fishing"),
        ("299 D\xe9j\xe0 vu", 299, "D\xe9j\xe0 vu"),
        ("599 x", 599, "x"),
        ("204 No Content", 204, "No Content"),
        ("304 Not Modified", 304, "Not Modified"),
    ],
)
def test_a_status(site, status, code, reason):
    answer = site.get("/echo-status?" + status.encode("latin-1").hex())
    assert (answer.status, answer.reason) == (code, reason)


@pytest.mark.parametrize(
    "status", ["", "20", "2000 OK", "200OK", "OK", "abc x", " 200 OK", "099 x", "200\tOK"]
)
def test_what_is_no_status(site, status):
    assert site.get("/echo-status?" + status.encode().hex()).status == 500
    site.expect_log(f"ValueError: the status {status!r} is not")


def test_strings_are_latin_1(site):
    with site.connect() as wire:
        wire.send(b"GET /latin1 HTTP/1.1\r\nHost: x\r\nX-Text: caf\xc3\xa9 \xe9\r\n\r\n")
        _, reason, headers = wire.head()
    assert reason == "D\xe9j\xe0 vu"
    assert ("X-Back", "caf\xc3\xa9 \xe9") in headers


def test_a_path_is_decoded_to_latin_1(serve):
    site = serve("apps.show")
    shown = site.get("/caf%C3%A9%2f%ff?q=%C3%A9").text
    assert r"PATH_INFO: '/caf\xc3\xa9/\xff'" in shown
    assert "QUERY_STRING: 'q=%C3%A9'" in shown


def test_headers_keep_their_order_and_number(site):
    answer = site.get("/many-headers")
    assert [value for name, value in answer.headers if name == "X-Many"] == [str(i) for i in range(90)]
    assert [value for name, value in answer.headers if name == "Set-Cookie"] == ["a=1", "b=2"]


def test_headers_are_taken_when_start_response_is_called(site):
    answer = site.get("/the-list-is-copied")
    assert (answer["x-mine"], answer["x-late"]) == ("1", None)


# ---- what is wrong ----


@pytest.mark.parametrize(
    "name, said",
    [
        ("status_is_bytes", "TypeError: the status must be str, not bytes: b'200 OK'"),
        ("status_is_a_number", "TypeError: the status must be str, not int: 200"),
        ("status_is_not_latin1", "ValueError: the status has characters that are not latin-1"),
        ("headers_are_a_tuple", "TypeError: the headers must be a list, not tuple"),
        ("headers_are_a_dict", "TypeError: the headers must be a list, not dict"),
        ("headers_are_none", "TypeError: the headers must be a list, not NoneType"),
        ("header_is_a_list", "TypeError: header 1 must be a tuple (name, value), not ['X-Two', '2']"),
        ("header_has_three", "TypeError: header 0 must be a tuple (name, value), not ('X-Three', '2', '3')"),
        ("name_is_bytes", "TypeError: header 1, b'X-Bytes': the name must be str, not bytes"),
        ("value_is_bytes", "TypeError: header 1, 'X-Bytes': the value must be str, not bytes"),
        ("value_is_a_number", "TypeError: header 0, 'Content-Length': the value must be str, not int"),
        ("value_is_none", "TypeError: header 0, 'X-None': the value must be str, not NoneType"),
        ("value_is_not_latin1", "ValueError: header 0, 'X-Euro': the value has characters that are not"),
        ("value_has_a_newline", "ValueError: start_response: header 1, 'X-Split': the value has a control"),
        ("name_has_a_colon", "ValueError: start_response: header 0, 'X-Bad:': the name is not a token"),
        ("name_is_empty", "ValueError: start_response: header 0, '': the name is empty"),
        ("reason_has_a_newline", "ValueError: start_response: a status, or a header, that HTTP"),
        ("hop_by_hop", "ValueError: start_response: header 0, 'transfer-encoding': hop-by-hop"),
        ("length_is_no_number", "ValueError: start_response: header 0, 'Content-Length': not a number"),
        ("no_arguments", "TypeError: start_response(status, headers, exc_info=None)"),
        ("too_many_arguments", "TypeError: start_response(status, headers, exc_info=None)"),
        ("an_unknown_keyword", "TypeError: start_response(status, headers, exc_info=None)"),
        ("a_keyword_twice", "TypeError: start_response(status, headers, exc_info=None)"),
        ("exc_info_is_no_tuple", "TypeError: exc_info must be the tuple of sys.exc_info(), not True"),
        ("interim_status", "ValueError: the status '103 Early Hints' ends no request"),
        ("twice", "AssertionError: start_response: not here, or called before"),
        ("returns_none", "TypeError: the application must return an iterable of bytes, not NoneType"),
        ("returns_a_number", "TypeError: the application must return an iterable of bytes, not int"),
        ("returns_bytes", "TypeError: the application must return an iterable of bytes, not bytes"),
        ("returns_str", "TypeError: the application must return an iterable of bytes, not str"),
        ("chunk_is_str", "TypeError: chunk 0 of the answer must be bytes, not str: 'some text'"),
        ("only_chunk_is_str", "TypeError: chunk 0 of the answer must be bytes, not str: 'some text'"),
        ("chunk_is_none", "TypeError: chunk 0 of the answer must be bytes, not NoneType: None"),
        ("chunk_is_a_bytearray", "TypeError: chunk 0 of the answer must be bytes, not bytearray"),
        ("write_of_str", "TypeError: write(data): bytes, not str: 'some text'"),
        ("write_of_nothing", "TypeError: write(data): one argument, bytes"),
        ("file_text", "TypeError: chunk 0 of the answer must be bytes, not str: 'some text'"),
        ("file_closed", "ValueError: "),
        ("raises", "LookupError: raised by the application"),
        ("raises_after_start", "LookupError: raised by the application"),
        ("raises_in_iter", "LookupError: raised by the application"),
        ("raises_in_next", "LookupError: raised by the application"),
        ("raises_with_surrogates", "LookupError: raised by the application: \\udcff"),
        ("raises_stop_iteration", "StopIteration: raised by the application"),
        ("raises_connection_error", "ConnectionResetError: a database has left"),
        ("raises_system_exit", "SystemExit: leaves by sys.exit"),
        ("raises_keyboard_interrupt", "KeyboardInterrupt: by hand"),
    ],
)
def test_a_mistake_is_a_500_with_a_traceback_that_says_where(site, name, said):
    before = site.log().count(said)
    answer = site.get(path_of(name))
    assert (answer.status, answer.reason) == (500, "Internal Server Error")
    assert "secret" not in answer.text and "raised" not in answer.text
    site.expect_log(said)
    assert site.log().count(said) == before + 1
    assert re.search(r'conform.py", line \d+, in|the answer must be|must return', site.log())
    assert site.get("/a-list").body == b"one two"


def test_no_value_of_a_header_is_in_the_log(site):
    for name in ("value_is_bytes", "value_is_not_latin1", "value_has_a_newline"):
        site.get(path_of(name))
    for text in ("X-Bytes", "X-Euro", "X-Split"):
        site.expect_log(text)
    told = [line for line in site.log().splitlines() if "Error: " in line]
    assert told and not any("secret" in line for line in told)


@pytest.mark.parametrize(
    "name",
    """never_started never_started_tuple never_started_generator never_started_empty
    started_after_a_chunk""".split(),
)
def test_an_answer_that_was_never_started(site, name):
    assert site.get(path_of(name)).status == 500
    site.expect_log("start_response")
    assert site.get("/a-list").body == b"one two"


def test_exc_info_behind_the_head_is_raised_again(site):
    with site.connect() as wire:
        wire.send(b"GET /late-exc-info HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.head()[0] == 200
        rest = wire.rest(may_reset=True)
    assert not rest.endswith(b"0\r\n\r\n")
    site.expect_log("LookupError: raised by the application")
    site.expect_note("close late-exc-info")
    assert "not raised" not in site.notes()


def test_exc_info_of_no_exception_behind_the_head(site):
    with site.connect() as wire:
        wire.send(b"GET /late-exc-info-of-nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.head()[0] == 200
        assert not wire.rest(may_reset=True).endswith(b"0\r\n\r\n")
    site.expect_log("AssertionError: start_response: not here, or called before")


def test_an_exception_behind_a_chunk_cuts_the_answer(site):
    with site.connect() as wire:
        wire.send(b"GET /raises-behind-a-chunk HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.head()[0] == 200
        assert wire.chunk() == b"one "
        assert wire.rest(may_reset=True) == b""
    site.expect_log("LookupError: raised by the application")
    site.expect_note("close raises-behind-a-chunk")


def test_what_is_kept_is_dead_after_the_request(site):
    assert site.get("/keep").body == b"kept"
    said = "RuntimeError RuntimeError ValueError ValueError ValueError True"
    assert site.get("/use-kept").text == said


# ---- close ----


@pytest.mark.parametrize(
    "name, status",
    [
        ("closed", 200),
        ("closed_when_empty", 200),
        ("closed_without_start", 500),
        ("closed_with_length", 200),
        ("chunk_is_str", 500),
        ("raises_in_iter", 500),
        ("raises_in_next", 500),
        ("raises_in_close", 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_close_is_called_once(serve, name, status, method):
    site = serve("apps.conform")
    answer = site.request(method, path_of(name))
    assert answer.status == status
    if name == "closed_with_length":
        assert answer["content-length"] == "5"
        assert answer.body == (b"one t" if method == "GET" else b"")
    if "raises" in name:
        site.expect_log("LookupError: raised by the application")
    if name == "chunk_is_str":
        site.expect_log("TypeError: chunk 0")
    assert site.get("/a-list").body == b"one two"
    site.expect_note("close " + name.replace("_", "-"))


def test_close_is_called_when_the_client_has_left(site):
    with site.connect() as wire:
        wire.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        wire.until(b"x" * 1000)
        wire.reset()
    site.expect_note("close endless")


def test_write_to_a_client_that_has_left_is_nobodys_mistake(site):
    with site.connect() as wire:
        wire.send(b"GET /endless-by-write HTTP/1.1\r\nHost: x\r\n\r\n")
        wire.until(b"x" * 1000)
        wire.reset()
    site.expect_note("gone")
    assert site.get("/a-list").body == b"one two"
    assert not any("ClientGone" in each for each in site.tracebacks())


@pytest.mark.parametrize("options", [{}, {"threads": 2}])
def test_close_is_called_when_the_server_stops(serve, options):
    site = serve("apps.conform", **options)
    with site.connect() as wire:
        wire.send(b"GET /waits HTTP/1.1\r\nHost: x\r\n\r\n")
        site.expect_note("begun")
        site.kill(signal.SIGTERM)
        open(f"{site.notes_path}.go", "w").close()
        assert wire.answer().body == b"one two"
    assert site.wait() == 0
    site.expect_note("close waits")


def test_close_is_called_when_the_time_to_stop_is_over(serve):
    """On the loop; a thread that is in the application then may end with its process."""
    site = serve("apps.conform", graceful_timeout="200ms")
    with site.connect() as wire:
        wire.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        wire.until(b"x" * 1000)
        assert site.stop() == 0
    site.expect_note("close endless")


# ---- wsgi.input ----

LINES = b"one\ntwo two\n\nlast"


@pytest.mark.parametrize(
    "calls, said",
    [
        ("read()", [LINES]),
        ("read(-1)", [LINES]),
        ("read(None)", [LINES]),
        ("read(5)+read(100)+read()+read(5)", [b"one\nt", LINES[5:], b"", b""]),
        ("read(0)+read(1)", [b"", b"o"]),
        ("read(17)+read()", [LINES, b""]),
        (
            "readline()+readline()+readline()+readline()+readline()",
            [b"one\n", b"two two\n", b"\n", b"last", b""],
        ),
        ("readline(2)+readline(2)+readline(100)+readline(0)", [b"on", b"e\n", b"two two\n", b""]),
        ("readline(-1)+readline(None)", [b"one\n", b"two two\n"]),
        ("readlines()", [[b"one\n", b"two two\n", b"\n", b"last"]]),
        ("readlines(-1)", [[b"one\n", b"two two\n", b"\n", b"last"]]),
        ("readlines(None)", [[b"one\n", b"two two\n", b"\n", b"last"]]),
        ("readlines(1)+readlines(5)+read()", [[b"one\n"], [b"two two\n"], b"\nlast"]),
        ("readline()+read(3)+readline()+readlines()", [b"one\n", b"two", b" two\n", [b"\n", b"last"]]),
        ("__next__()+!list(source)+!list(source)", [b"one\n", [b"two two\n", b"\n", b"last"], []]),
        ("!iter(source)is(source)", [True]),
        ("read('x')+read(1,2)+read(2**80)+read()", ["TypeError", "TypeError", "OverflowError", LINES]),
        ("readline(1.5)+readlines('x')", ["TypeError", "TypeError"]),
        ("!hasattr(source,'close')", [False]),
    ],
)
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("buffering", [True, False])
def test_input(sites_of, calls, said, framing, buffering):
    site = sites_of[buffering]
    body = LINES if framing == "length" else iter([LINES[:1], LINES[1:8], LINES[8:]])
    answer = site.post("/read-by?" + calls, body)
    expected = [each if isinstance(each, str) else repr(each) for each in said]
    assert answer.text.split("\n") == expected


@pytest.fixture(scope="module")
def sites_of(serve_module):
    return {True: serve_module("apps.conform"), False: serve_module("apps.conform", request_buffering=False)}


@pytest.mark.parametrize("calls", ["read()", "read(10)", "readline()", "readlines()", "!list(source)"])
def test_input_of_no_body(site, calls):
    assert site.get("/read-by?" + calls).text in ("b''", "[]")


@pytest.mark.parametrize("size", [1, 4096, 65536, 65537, 1 << 20, 3 << 20])
@pytest.mark.parametrize("buffering", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_comes_back(sites_of, size, buffering, chunked):
    body = os.urandom(size)
    pieces = iter([body[: size // 3], body[size // 3 :]] if size > 3 else [body])
    answer = sites_of[buffering].post("/echo", pieces if chunked else body)
    assert answer.body == body
    assert answer["x-length"] == ("none" if chunked else str(size))


def test_a_long_line(sites_of):
    body = b"x" * 100000 + b"\n" + b"y" * 10
    for site in sites_of.values():
        answer = site.post("/read-by?readline()+readline(20)", body)
        assert answer.text == repr(body[:100001]) + "\n" + repr(b"y" * 10)


def test_input_in_next(site):
    assert site.post("/read-in-next", b"abcdef").body == b"abc|def"


def test_a_body_that_nobody_reads_is_not_the_next_request(site):
    with site.connect() as wire:
        body = b"GET /raises HTTP/1.1\r\nHost: x\r\n\r\n"
        head = b"POST /read-nothing HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        wire.send(head + body + b"GET /a-list HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.answer().body == b"not read"
        assert wire.answer().body == b"one two"


def test_a_client_that_leaves_within_its_body(serve):
    site = serve("apps.conform", request_buffering=False)
    with site.connect() as wire:
        wire.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        wire.reset()
    assert site.get("/a-list").body == b"one two"
    assert site.tracebacks() == []


# ---- wsgi.errors ----


def test_lines_of_wsgi_errors_are_whole(site):
    assert site.get("/errors").body == b"ok"
    for text in (
        "printed in 4 pieces",
        "first half, second half",
        "and another",
        "not ended",
        "of writelines",
        "not text: \\udcff \u20ac",
        "left open",
    ):
        site.expect_log(text)
        line = next(line for line in site.log().splitlines() if text in line)
        assert line.endswith(text), line
    assert site.log().count("x" * 1000) > 0
    site.expect_note("wsgi.errors.write(text): str, not bytes")


def test_wsgi_errors_in_another_thread(site):
    assert site.get("/errors-elsewhere").body == b"ok"
    site.expect_log("from another thread")


# ---- wsgi.file_wrapper ----


@pytest.mark.parametrize(
    "name, body",
    [
        ("file_plain", FILE),
        ("file_open", FILE),
        ("file_unbuffered", FILE),
        ("file_offset", FILE[13:]),
        ("file_with_length", FILE[:16]),
        ("file_empty", b""),
        ("file_in_memory", b"abc" * 1000),
        ("file_without_close", b"abcd"),
        ("file_gzip", b"plain text\n" * 100),
        ("file_subclass", b"ooooooo\noooooo1\n"),
        ("file_subclass_of_wrapper", b"ABC"),
        ("file_iterated", b"ooooooo\noooooo1\n"),
        ("file_pipe", b"through a pipe"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file(site, name, body, method):
    answer = site.request(method, path_of(name))
    assert answer.status == 200
    assert answer.body == (body if method == "GET" else b"")


@pytest.mark.parametrize(
    "name, as_noted", [("file_in_memory", "memory"), ("file_subclass_of_wrapper", "upper")]
)
def test_a_file_is_closed(serve, name, as_noted):
    site = serve("apps.conform")
    site.get(path_of(name))
    site.expect_note("close " + as_noted)


# ---- extensions ----


def test_early_hints(site):
    with site.connect() as wire:
        wire.send(b"GET /hints HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = wire.answer()
        assert [hint.status for hint in answer.hints] == [103, 103]
        links = [("Link", "</style.css>; rel=preload"), ("Link", "</script.js>; rel=preload")]
        assert answer.hints[0].headers == links
        assert answer.hints[1].headers == [("Link", "</late.css>; rel=preload")]
        assert (answer.status, answer.body) == (200, b"one two")


def test_a_client_of_http_1_0_gets_no_early_hints(site):
    got = site.raw(b"GET /hints HTTP/1.0\r\n\r\n")
    assert got.startswith(b"HTTP/1.") and b" 103 " not in got and got.endswith(b"one two")


def test_early_hints_that_http_does_not_allow(site):
    assert site.get("/hints-bad").text == "ValueError ValueError TypeError TypeError TypeError"


@pytest.mark.parametrize("options", [{}, {"threads": 2}])
@pytest.mark.parametrize("how", ["reset", "half_close"])
def test_client_gone(serve, options, how):
    site = serve("apps.conform", **options)
    with site.connect() as wire:
        wire.send(b"GET /watches HTTP/1.1\r\nHost: x\r\n\r\n")
        site.expect_note("gone False")
        getattr(wire, how)()
        site.expect_note("gone True")
        if how == "half_close":
            assert wire.answer().body == b"nobody"


@pytest.mark.parametrize(
    "kind, options, multithread, multiprocess",
    [
        ("serve", {"workers": 1}, False, False),
        ("serve", {"workers": 2}, False, True),
        ("serve", {"workers": 1, "threads": 3}, True, False),
        ("serve", {"workers": 2, "threads": 3}, True, True),
        ("serve", {"workers": 1, "worker_model": "inline"}, False, False),
        ("serve", {"workers": 2, "worker_model": "threads", "threads": 1}, True, False),
        ("make_server", {}, False, False),
        ("make_server", {"threads": 2}, True, False),
    ],
)
def test_environ_tells_the_model(serve, kind, options, multithread, multiprocess):
    site = serve("apps.conform", kind, **options)
    assert site.get("/model").text == repr([multithread, multiprocess, False, True, (1, 0)])


def test_environ_is_a_dict_of_str(site):
    assert site.get("/environ-types").text == "(True, [])"


def test_environ_is_the_applications(site):
    assert site.get("/environ-is-mine").text == "False"
    assert site.get("/environ-is-mine").text == "False"


# ---- KeyboardInterrupt ----


def test_control_c_in_an_application_ends_serve_forever(serve):
    """It is the one who called serve_forever who is interrupted, behind a 500 for the client."""
    site = serve("apps.conform", "make_server")
    with site.connect() as wire:
        wire.send(b"GET /waits HTTP/1.1\r\nHost: x\r\n\r\n")
        site.expect_note("begun")
        site.kill(signal.SIGINT)
        assert wire.answer().status == 500
    assert site.wait() == -signal.SIGINT
    site.expect_log("KeyboardInterrupt")
    assert len(site.tracebacks()) == 1
