"""Small applications, each for one sentence of PEP 3333: /name is answered by the function `name`.

Wrong ones are here, too: their names say what is wrong.
"""

import gzip
import io
import json
import os
import sys
import tempfile
import threading
import urllib.parse
from wsgiref.validate import validator

from harness import note

import gateway

PLAIN = (("Content-Type", "text/plain"),)


def application(environ, start_response):
    return globals()[environ["PATH_INFO"].strip("/").replace("-", "_")](environ, start_response)


class Noted:
    """An iterable that tells when it is closed."""

    def __init__(self, name, chunks):
        self.name, self.chunks = name, chunks

    def __iter__(self):
        return iter(self.chunks)

    def close(self):
        note("close " + self.name)


# ---- what may be returned ----


def a_list(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return [b"one ", b"two"]


def a_list_of_one(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return [b"one two"]


def a_tuple(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return (b"one ", b"two")


def a_tuple_of_one(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return (b"one two",)


def a_generator(environ, start_response):
    start_response("200 OK", [*PLAIN])
    yield b"one "
    yield b"two"


def a_generator_expression(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return (chunk for chunk in [b"one ", b"two"])


def an_iterator(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return iter([b"one ", b"two"])


def a_map(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return map(str.encode, ["one ", "two"])


def a_list_that_starts_late(environ, start_response):
    class Late(list):
        def __iter__(self):
            start_response("200 OK", [*PLAIN])
            return super().__iter__()

    return Late([b"one ", b"two"])


class Indexed:
    """An iterable by __getitem__ alone."""

    def __getitem__(self, at):
        return [b"one ", b"two"][at]


def by_index(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return Indexed()


def empty_chunks(environ, start_response):
    start_response("200 OK", [*PLAIN])
    yield b""
    yield b"one "
    yield b""
    yield b""
    yield b"two"
    yield b""


class OfBytes(bytes):
    pass


def a_subclass_of_bytes(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return [OfBytes(b"one "), OfBytes(b"two")]


class ByClass:
    """The class is the application, its instance the iterable."""

    def __init__(self, environ, start_response):
        self.start_response = start_response

    def __iter__(self):
        self.start_response("200 OK", [*PLAIN])
        yield b"one "
        yield b"two"


by_class = ByClass


class Instance:
    def __call__(self, environ, start_response):
        start_response("200 OK", [*PLAIN])
        return [b"one ", b"two"]

    def method(self, environ, start_response):
        return self(environ, start_response)


by_instance = Instance()
by_method = Instance().method


def by_write(environ, start_response):
    write = start_response("200 OK", [*PLAIN])
    write(b"one ")
    write(b"")
    return [b"two"]


def by_write_alone(environ, start_response):
    write = start_response("200 OK", [*PLAIN])
    write(b"one ")
    write(b"two")
    return []


def by_write_in_next(environ, start_response):
    write = start_response("200 OK", [*PLAIN])
    write(b"one ")
    yield b""
    write(b"two")


def by_keywords(environ, start_response):
    start_response(status="200 OK", headers=[*PLAIN])
    return [b"one two"]


def by_long_keywords(environ, start_response):
    start_response(status="200 OK", response_headers=[*PLAIN], exc_info=None)
    return [b"one two"]


def with_exc_info_at_once(environ, start_response):
    try:
        raise LookupError("looked at")
    except LookupError:
        start_response("200 OK", [*PLAIN], sys.exc_info())
    return [b"one two"]


def replaced(environ, start_response):
    start_response("404 Not Found", [("X-First", "1"), *PLAIN])
    try:
        raise LookupError("looked at")
    except LookupError:
        start_response("200 OK", [*PLAIN], sys.exc_info())
    return [b"one two"]


def replaced_in_next(environ, start_response):
    start_response("404 Not Found", [("X-First", "1"), *PLAIN])
    yield b""
    try:
        raise LookupError("looked at")
    except LookupError:
        start_response("200 OK", [*PLAIN], sys.exc_info())
    yield b"one two"


def an_empty_list(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return []


def an_empty_generator(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return
    yield


def one_empty_chunk(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return [b""]


# ---- status and headers ----


def echo_status(environ, start_response):
    start_response(bytes.fromhex(environ["QUERY_STRING"]).decode("latin-1"), [*PLAIN])
    return []


def latin1(environ, start_response):
    start_response(
        "200 D\xe9j\xe0 vu", [("X-Back", environ["HTTP_X_TEXT"]), ("X-Path", ascii(environ["PATH_INFO"]))]
    )
    return []


def latin1_path(environ, start_response):
    start_response("200 OK", [*PLAIN])
    assert environ["SCRIPT_NAME"] == ""
    return [ascii(environ["QUERY_STRING"]).encode()]


def many_headers(environ, start_response):
    start_response(
        "200 OK",
        [("X-Many", str(i)) for i in range(90)] + [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), *PLAIN],
    )
    return []


def the_list_is_copied(environ, start_response):
    headers = [("X-Mine", "1"), *PLAIN]
    start_response("200 OK", headers)
    headers.append(("X-Late", "1"))
    headers[0] = ("X-Mine", "2")
    return []


# ---- what is wrong ----


def status_is_bytes(environ, start_response):
    start_response(b"200 OK", [*PLAIN])


def status_is_a_number(environ, start_response):
    start_response(200, [*PLAIN])


def status_is_not_latin1(environ, start_response):
    start_response("200 \u20ac", [*PLAIN])


def headers_are_a_tuple(environ, start_response):
    start_response("200 OK", (("X", "1"),))


def headers_are_a_dict(environ, start_response):
    start_response("200 OK", {"X": "1"})


def headers_are_none(environ, start_response):
    start_response("200 OK", None)


def header_is_a_list(environ, start_response):
    start_response("200 OK", [("A", "1"), ["X-Two", "2"]])


def header_has_three(environ, start_response):
    start_response("200 OK", [("X-Three", "2", "3")])


def name_is_bytes(environ, start_response):
    start_response("200 OK", [("A", "1"), (b"X-Bytes", "2")])


def value_is_bytes(environ, start_response):
    start_response("200 OK", [("A", "1"), ("X-Bytes", b"secret")])


def value_is_a_number(environ, start_response):
    start_response("200 OK", [("Content-Length", 12)])


def value_is_none(environ, start_response):
    start_response("200 OK", [("X-None", None)])


def value_is_not_latin1(environ, start_response):
    start_response("200 OK", [("X-Euro", "secret \u20ac")])


def value_has_a_newline(environ, start_response):
    start_response("200 OK", [("A", "1"), ("X-Split", "secret\r\nSet-Cookie: a=1")])


def name_has_a_colon(environ, start_response):
    start_response("200 OK", [("X-Bad:", "1")])


def name_is_empty(environ, start_response):
    start_response("200 OK", [("", "1")])


def reason_has_a_newline(environ, start_response):
    start_response("200 OK\r\nX: 1", [])


def hop_by_hop(environ, start_response):
    start_response("200 OK", [("transfer-encoding", "chunked")])


def length_is_no_number(environ, start_response):
    start_response("200 OK", [("Content-Length", "many")])


def no_arguments(environ, start_response):
    start_response()


def too_many_arguments(environ, start_response):
    start_response("200 OK", [], None, 1)


def an_unknown_keyword(environ, start_response):
    start_response("200 OK", [], info=None)


def a_keyword_twice(environ, start_response):
    start_response("200 OK", [], status="200 OK")


def exc_info_is_no_tuple(environ, start_response):
    start_response("200 OK", [], exc_info=True)


def interim_status(environ, start_response):
    start_response("103 Early Hints", [("Link", "</a>")])


def twice(environ, start_response):
    start_response("200 OK", [*PLAIN])
    start_response("200 OK", [*PLAIN])
    return [b"x"]


def never_started(environ, start_response):
    return [b"x"]


def never_started_tuple(environ, start_response):
    return (b"x",)


def never_started_generator(environ, start_response):
    yield b"x"


def never_started_empty(environ, start_response):
    return []


def started_after_a_chunk(environ, start_response):
    yield b"x"
    start_response("200 OK", [*PLAIN])


def returns_none(environ, start_response):
    start_response("200 OK", [*PLAIN])


def returns_a_number(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return 17


def returns_bytes(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return b"text"


def returns_str(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return "text"


def chunk_is_str(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return Noted("chunk-is-str", ["some text"])


def only_chunk_is_str(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return ["some text"]


def chunk_is_none(environ, start_response):
    start_response("200 OK", [*PLAIN])
    yield None


def chunk_is_a_bytearray(environ, start_response):
    start_response("200 OK", [*PLAIN])
    yield bytearray(b"abc")


def write_of_str(environ, start_response):
    start_response("200 OK", [*PLAIN])("some text")


def write_of_nothing(environ, start_response):
    start_response("200 OK", [*PLAIN])()


def raises(environ, start_response):
    raise LookupError("raised by the application")


def raises_after_start(environ, start_response):
    start_response("200 OK", [*PLAIN])
    raise LookupError("raised by the application")


def raises_in_iter(environ, start_response):
    class Bad(Noted):
        def __iter__(self):
            raise LookupError("raised by the application")

    start_response("200 OK", [*PLAIN])
    return Bad("raises-in-iter", [])


def raises_in_next(environ, start_response):
    def chunks():
        raise LookupError("raised by the application")
        yield

    start_response("200 OK", [*PLAIN])
    return Noted("raises-in-next", chunks())


def raises_in_close(environ, start_response):
    class Bad(Noted):
        def close(self):
            super().close()
            raise LookupError("raised by the application")

    start_response("200 OK", [*PLAIN])
    return Bad("raises-in-close", [b"one ", b"two"])


def raises_behind_a_chunk(environ, start_response):
    def chunks():
        yield b"one "
        raise LookupError("raised by the application")

    start_response("200 OK", [*PLAIN])
    return Noted("raises-behind-a-chunk", chunks())


def raises_with_surrogates(environ, start_response):
    raise LookupError("raised by the application: \udcff")


def raises_system_exit(environ, start_response):
    sys.exit("leaves by sys.exit")


def raises_keyboard_interrupt(environ, start_response):
    raise KeyboardInterrupt("by hand")


def raises_stop_iteration(environ, start_response):
    raise StopIteration("raised by the application")


def raises_connection_error(environ, start_response):
    raise ConnectionResetError("a database has left")


def late_exc_info(environ, start_response):
    """An exception behind the head: PEP 3333 has it raised again."""

    def chunks():
        yield b"x" * 100000
        try:
            raise LookupError("raised by the application")
        except LookupError:
            start_response("500 Oh", [*PLAIN], sys.exc_info())
        note("not raised")

    start_response("200 OK", [*PLAIN])
    return Noted("late-exc-info", chunks())


def late_exc_info_of_nothing(environ, start_response):
    start_response("200 OK", [*PLAIN])(b"x")
    start_response("500 Oh", [*PLAIN], sys.exc_info())


kept = {}


def keep(environ, start_response):
    kept.update(start_response=start_response, input=environ["wsgi.input"], environ=environ)
    kept["write"] = start_response("200 OK", [*PLAIN])
    return [b"kept"]


def use_kept(environ, start_response):
    said = []
    for what in (
        lambda: kept["start_response"]("200 OK", [*PLAIN]),
        lambda: kept["write"](b"x"),
        lambda: kept["input"].read(),
        lambda: kept["input"].readline(),
        lambda: next(kept["input"]),
    ):
        try:
            what()
        except Exception as error:
            said.append(type(error).__name__)
        else:
            said.append("nothing")
    said.append(str(gateway.client_gone(kept["environ"])))
    kept.clear()
    start_response("200 OK", [*PLAIN])
    return [" ".join(said).encode()]


# ---- close ----


def closed(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return Noted("closed", [b"one ", b"two"])


def closed_when_empty(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return Noted("closed-when-empty", [])


def closed_without_start(environ, start_response):
    return Noted("closed-without-start", [b"x"])


def closed_with_length(environ, start_response):
    """More than was promised: nothing behind Content-Length goes out."""
    start_response("200 OK", [("Content-Length", "5")])
    return Noted("closed-with-length", [b"one ", b"two", b"three"])


def endless(environ, start_response):
    def chunks():
        note("begun")
        while True:
            yield b"x" * 65536

    start_response("200 OK", [*PLAIN])
    return Noted("endless", chunks())


def endless_by_write(environ, start_response):
    write = start_response("200 OK", [*PLAIN])
    note("begun")
    try:
        while True:
            write(b"x" * 65536)
    except gateway.ClientGone:
        note("gone")
        raise


def waits(environ, start_response):
    """Until the test lets it go, by a file."""
    note("begun")
    while not os.path.exists(os.environ["GATEWAY_TEST_NOTES"] + ".go"):
        threading.Event().wait(0.005)
    start_response("200 OK", [*PLAIN])
    return Noted("waits", [b"one ", b"two"])


def watches(environ, start_response):
    note(f"gone {gateway.client_gone(environ)}")
    while not gateway.client_gone(environ):
        threading.Event().wait(0.005)
    note("gone True")
    start_response("200 OK", [*PLAIN])
    return [b"nobody"]


# ---- wsgi.input ----


def read_by(environ, start_response):
    """What a list of calls gives: the query is read(5),readline(),... of the input."""
    source = environ["wsgi.input"]
    said = []
    for call in environ["QUERY_STRING"].split("+"):
        try:
            said.append(repr(eval("source." + call if call[0] != "!" else call[1:], {"source": source})))
        except Exception as error:
            said.append(f"{type(error).__name__}")
    start_response("200 OK", [*PLAIN])
    return ["\n".join(said).encode()]


def read_in_next(environ, start_response):
    start_response("200 OK", [*PLAIN])
    yield environ["wsgi.input"].read(3)
    yield b"|"
    yield environ["wsgi.input"].read()


def read_nothing(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return [b"not read"]


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response(
        "200 OK", [("X-Length", environ.get("CONTENT_LENGTH", "none")), ("X-Octets", str(len(body)))]
    )
    return [body]


# ---- wsgi.errors ----


def errors(environ, start_response):
    errors = environ["wsgi.errors"]
    print("printed", "in", 4, "pieces", file=errors)
    errors.write("first half, ")
    errors.write("second half\nand another\nnot ended")
    errors.flush()
    errors.writelines(["of ", "writelines\n"])
    errors.write("not text: \udcff \u20ac\n")
    errors.write("x" * 10000 + "\n")
    errors.write("left open")
    try:
        errors.write(b"bytes")
    except TypeError as error:
        note(str(error))
    start_response("200 OK", [*PLAIN])
    return [b"ok"]


def errors_elsewhere(environ, start_response):
    thread = threading.Thread(target=lambda: environ["wsgi.errors"].write("from another thread\n"))
    thread.start()
    thread.join()
    start_response("200 OK", [*PLAIN])
    return [b"ok"]


# ---- wsgi.file_wrapper ----


def a_file(size=300000):
    file = tempfile.NamedTemporaryFile()
    file.write(b"".join(b"%07d\n" % i for i in range(size // 8)))
    file.flush()
    file.seek(0)
    return file


class Tells:
    """A file that tells what is done to it."""

    def __init__(self, of, name):
        self.of, self.name = of, name

    def read(self, size):
        note("read " + self.name)
        return self.of.read(size)

    def close(self):
        note("close " + self.name)
        self.of.close()


class OddFile(io.FileIO):
    """A subclass may read as it likes: by read()."""

    def read(self, size=-1):
        return super().read(size).replace(b"0", b"o")


def file_plain(environ, start_response):
    wrapper = environ["wsgi.file_wrapper"](a_file())
    assert wrapper.blksize > 0 and wrapper.filelike.read
    start_response("200 OK", [*PLAIN])
    return wrapper


def file_open(environ, start_response):
    file = a_file()
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](open(file.name, "rb"), 1000)


def file_unbuffered(environ, start_response):
    file = a_file()
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](open(file.name, "rb", buffering=0))


def file_offset(environ, start_response):
    file = a_file()
    assert file.read(13) == b"0000000\n00000"
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](file)


def file_with_length(environ, start_response):
    start_response("200 OK", [("Content-Length", "16"), *PLAIN])
    return environ["wsgi.file_wrapper"](a_file())


def file_empty(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](a_file(0))


def file_in_memory(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](Tells(io.BytesIO(b"abc" * 1000), "memory"), 1000)


def file_without_close(environ, start_response):
    class Readable:
        left = [b"ab", b"cd", b""]

        def read(self, size):
            return self.left.pop(0)

    Readable.left = [b"ab", b"cd", b""]
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](Readable())


def file_gzip(environ, start_response):
    """It has a descriptor, of other octets."""
    file = tempfile.NamedTemporaryFile(suffix=".gz")
    with gzip.open(file.name, "wb") as out:
        out.write(b"plain text\n" * 100)
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](gzip.open(file.name, "rb"))


def file_subclass(environ, start_response):
    file = a_file(16)
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](OddFile(file.name))


def file_subclass_of_wrapper(environ, start_response):
    class Upper(environ["wsgi.file_wrapper"]):
        def __next__(self):
            return super().__next__().upper()

    start_response("200 OK", [*PLAIN])
    return Upper(Tells(io.BytesIO(b"abc"), "upper"))


def file_iterated(environ, start_response):
    """As a middleware that changes what goes by."""
    start_response("200 OK", [*PLAIN])
    wrapper = environ["wsgi.file_wrapper"](a_file(16), 4)
    return (chunk.replace(b"0", b"o") for chunk in wrapper)


def file_pipe(environ, start_response):
    read, write = os.pipe()
    os.write(write, b"through a pipe")
    os.close(write)
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](open(read, "rb"))


def file_text(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](io.StringIO("some text"))


def file_closed(environ, start_response):
    file = a_file()
    file.close()
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](file)


# ---- extensions ----


def hints(environ, start_response):
    early_hints = environ["wsgi.early_hints"]
    early_hints([("Link", "</style.css>; rel=preload"), ("Link", "</script.js>; rel=preload")])
    early_hints((("Link", "</late.css>; rel=preload"),))
    write = start_response("200 OK", [*PLAIN])
    write(b"one ")
    early_hints([("Link", "</too-late.css>; rel=preload")])
    return [b"two"]


def hints_bad(environ, start_response):
    said = []
    for headers in ([("Bad Name", "x")], [("Link", "a\r\nb")], [("Link", 1)], ["Link"], 17):
        try:
            environ["wsgi.early_hints"](headers)
        except Exception as error:
            said.append(type(error).__name__)
    start_response("200 OK", [*PLAIN])
    return [" ".join(said).encode()]


def model(environ, start_response):
    start_response("200 OK", [*PLAIN])
    names = [
        "wsgi.multithread",
        "wsgi.multiprocess",
        "wsgi.run_once",
        "wsgi.input_terminated",
        "wsgi.version",
    ]
    return [repr([environ[name] for name in names]).encode()]


def environ_types(environ, start_response):
    start_response("200 OK", [*PLAIN])
    wrong = [key for key, value in environ.items() if "." not in key and type(value) is not str]
    return [repr((type(environ) is dict, wrong)).encode()]


def environ_is_mine(environ, start_response):
    """What is put into one request's environ is not in another's."""
    there = "mine" in environ or "x" in environ["HTTP_HOST"]
    environ["mine"] = 1
    environ["HTTP_HOST"] = "x"
    environ["wsgi.errors"] = None
    start_response("200 OK", [*PLAIN])
    return [str(there).encode()]


def show(environ, start_response):
    """The environ as JSON; what is no str by the name of its type."""
    values = {
        key: value if isinstance(value, str | bool) else type(value).__name__
        for key, value in environ.items()
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(values).encode()]


# ---- more for the comparison ----


def no_content(environ, start_response):
    start_response("204 No Content", [("X-A", "1")])
    return []


def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"x"')])
    return []


def redirects(environ, start_response):
    start_response("302 Found", [("Location", "/elsewhere"), *PLAIN])
    return [b"gone there"]


def with_length(environ, start_response):
    start_response("200 OK", [("Content-Length", "7"), *PLAIN])
    return [b"one ", b"two"]


def with_date_and_server(environ, start_response):
    start_response("200 OK", [("Date", "Thu, 01 Jan 2026 00:00:00 GMT"), ("Server", "mine"), *PLAIN])
    return [b"one two"]


def big(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return [bytes([i]) * 65536 for i in range(20)]


def form(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [*PLAIN])
    return [repr(sorted(urllib.parse.parse_qs(body).items())).encode()]


def method(environ, start_response):
    start_response("200 OK", [*PLAIN])
    return [environ["REQUEST_METHOD"].encode()]


def checked(name):
    """The application `name` with wsgiref.validate around it."""
    return validator(globals()[name.replace("-", "_")])


def validated(environ, start_response):
    """/validated?name: as /name, with a complaint for whatever is not to the letter."""
    return checked(environ["QUERY_STRING"])(environ, start_response)
