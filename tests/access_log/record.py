"""Record what gunicorn writes to its access log: `python record.py > gunicorn.txt`.

Each case is served by gunicorn itself, started with the case's format.  The logger below keeps
what gunicorn was asked to log beside what it wrote; only the clocks are replaced: the time of day
by NOW, and how long the request took by the case's own number.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time

import gunicorn

NOW = 1795250076
ZONE = "<+0545>-5:45"
DEFAULT = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'

CONF = f"""
import json
import os
import time
from datetime import timedelta

import gunicorn.glogging

strftime = time.strftime
time.strftime = lambda form, when=None: strftime(form, when or time.localtime({NOW}))


class Recorder(gunicorn.glogging.Logger):
    def access(self, resp, req, environ, request_time):
        took = int(environ.get("HTTP_X_TOOK", "0"))
        with open(os.environ["RECORD"], "w") as record:
            json.dump(
                {{
                    "pid": os.getpid(),
                    "took_us": took,
                    "status": str(resp.status).split()[0],
                    "sent": resp.sent,
                    "environ": {{k: v for k, v in environ.items() if isinstance(v, str)}},
                    "in": list(req.headers),
                    "out": list(resp.headers),
                }},
                record,
            )
        super().access(resp, req, environ, timedelta(microseconds=took))


logger_class = Recorder
"""

APP = """
def app(environ, start_response):
    environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    status = {"/404": "404 Not Found", "/204": "204 No Content"}.get(path, "200 OK")
    body = b"" if path in ("/204", "/empty") else b"hello, world\\n"
    head = [("Content-Type", "text/plain"), ("X-Out", "one"), ("x-out", 'two "2"'), ("X-No", "")]
    if path != "/204":
        head.append(("Content-Length", str(len(body))))
    start_response(status, head)
    return [body]
"""


def get(target="/", *fields, method="GET", version="1.1", body=""):
    fields = ["Host: example", "Connection: close", *fields]
    head = [f"{method} {target} HTTP/{version}", *fields, "", body]
    return "\r\n".join(head).encode("latin-1")


# Name, format, request, and our line where it is meant to differ.
CASES = [
    ("plain", DEFAULT, get("/", "User-Agent: curl/8.0", "Referer: http://a/b?c=d"), None),
    ("nothing known", DEFAULT, get(), None),
    ("http 1.0", DEFAULT, get("/x?y=z", version="1.0"), None),
    ("not found", "%(s)s %(b)s %(B)s", get("/404"), None),
    ("no content", "%(s)s %(b)s %(B)s", get("/204"), None),
    ("empty body", "%(s)s %(b)s %(B)d", get("/empty"), None),
    ("head", "%(m)s %(s)s", get(method="HEAD"), None),
    ("post", DEFAULT, get("/", "Content-Length: 3", method="POST", body="abc"), None),
    ("own method", "%(m)s|%(r)s", get(method="PURGE"), None),
    ("parts of the target", "%(m)s|%(U)s|%(q)s|%(H)s", get("/a%20b/%C3%A9?x=%20&y"), True),
    ("empty query", "%(U)s|%(q)s|%(r)s", get("/a?"), None),
    ("absolute target", "%(U)s|%(q)s|%(r)s", get("http://example/p?q"), None),
    ("asterisk", "%(r)s", get("*", method="OPTIONS"), None),
    ("took nothing", "%(T)s %(M)s %(D)s %(L)s", get("/", "X-Took: 0"), None),
    ("took 999 us", "%(T)s %(M)s %(D)s %(L)s", get("/", "X-Took: 999"), None),
    ("took 1.5 s", "%(T)d %(M)d %(D)d %(L)s", get("/", "X-Took: 1500042"), None),
    ("took an hour", "%(T)s %(M)s %(D)s %(L)s", get("/", "X-Took: 3600999999"), None),
    ("process and time", "%(p)s%(t)s", get(), None),
    ("percent", "100%% %(s)s%%", get(), None),
    ("literal", "h=%(h)s\u00e9(%(l)s)", get(), None),
    ("request headers", "%({Host}i)s %({HOST}i)s %({x-none}i)s", get(), None),
    ("two of a name", "%({x-a}i)s %({HTTP_X_A}e)s", get("/", "X-A: 1", "x-a: 2"), None),
    ("empty header", "[%({x-a}i)s] [%(f)s]", get("/", "X-A:", "Referer:"), None),
    ("two user agents", "%(a)s", get("/", "User-Agent: a", "User-Agent: b"), None),
    ("response headers", "%({Content-Type}o)s|%({X-Out}o)s|%({x-no}o)s|%({q}o)s", get(), None),
    (
        "environ",
        "%({REMOTE_ADDR}e)s %({request_method}e)s %({wsgi.url_scheme}e)s %({nothing}e)s",
        get(),
        None,
    ),
    ("content type", "%({CONTENT_TYPE}e)s", get("/", "Content-Type: a/b"), None),
    ("user", "%(u)s", get("/", "Authorization: Basic dXNlcjpwdw=="), None),
    ("user, other case", "%(u)s", get("/", "Authorization: BASIC   dXNlcjpwdw== "), None),
    ("user without colon", "%(u)s", get("/", "Authorization: Basic dXNlcg=="), None),
    ("empty user", "%(u)s", get("/", "Authorization: Basic OnB3"), None),
    ("no padding", "%(u)s", get("/", "Authorization: Basic dXNlcg"), None),
    ("not base64", "%(u)s", get("/", "Authorization: Basic dXN!lcg=="), None),
    ("user not utf-8", "%(u)s", get("/", "Authorization: Basic /w=="), None),
    ("bearer", "%(u)s", get("/", "Authorization: Bearer dXNlcjpwdw=="), None),
    ("quotes", DEFAULT, get('/"', 'User-Agent: a"b" 200 "'), None),
    ("quotes in the user", "%(u)s", get("/", "Authorization: Basic YSJi"), None),
    ("quote in the path", "%(U)s", get("/%22"), None),
    # From here on a client tries to forge: gunicorn lets it.
    ("user with a newline", "%(u)s", get("/", "Authorization: Basic YQpiOmM="), True),
    ("user in utf-8", "%(u)s", get("/", "Authorization: Basic asO8cmdlbjp4"), True),
    ("newline in the path", "%(U)s", get("/a%0d%0ab"), True),
    ("controls in the path", "%(U)s", get("/%00%1b%5b31m%7f%09"), True),
    ("tab in a header", "%(a)s", get("/", "User-Agent: a\tb"), True),
    ("latin 1 in a header", "%(a)s", get("/", "User-Agent: caf\xe9 \x9b"), True),
    ("backslash before a quote", '"%(a)s"', get("/", 'User-Agent: \\" 200 "x'), True),
    ("backslash", "%({x-a}i)s", get("/", "X-A: C:\\dir"), True),
]

# Our lines for the cases that are marked above.
OURS = {
    "parts of the target": r"GET|/a b/\xc3\xa9|x=%20&y|HTTP/1.1",
    "user with a newline": r"a\nb",
    "user in utf-8": r"j\xc3\xbcrgen",
    "newline in the path": r"/a\r\nb",
    "controls in the path": r"/\x00\x1b[31m\x7f\t",
    "tab in a header": r"a\tb",
    "latin 1 in a header": r"caf\xe9 \x9b",
    "backslash before a quote": r'"\\\" 200 \"x"',
    "backslash": r"C:\\dir",
}

WANTED = ["REMOTE_ADDR", "REQUEST_METHOD", "RAW_URI", "SERVER_PROTOCOL", "PATH_INFO"]
WANTED += ["QUERY_STRING", "CONTENT_TYPE", "wsgi.url_scheme"]


def show(octets):
    """Printable ASCII as it is, all else and the backslash as \\xhh."""
    plain = (chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02x}" for b in octets)
    return "".join(plain)


def serve(form, request, folder):
    """What gunicorn was asked to log, and what it wrote."""
    log, record = os.path.join(folder, "log"), os.path.join(folder, "record")
    for path in (log, record):
        if os.path.exists(path):
            os.unlink(path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}"]
        command += ["--config", "conf.py", "--log-level", "error", "--access-logfile", log]
        command += ["--access-logformat", form, "app:app"]
        environ = {**os.environ, "TZ": ZONE, "PYTHONUTF8": "1", "RECORD": record}
        server = subprocess.Popen(command, cwd=folder, env=environ, pass_fds=[listener.fileno()])
        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(request)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        for _ in range(200):
            if os.path.exists(record) and os.path.exists(log) and os.path.getsize(log):
                break
            time.sleep(0.05)
        else:
            raise SystemExit(f"not logged: {answer!r}")
        server.terminate()
        server.wait()
    with open(record) as source:
        asked = json.load(source)
    with open(log, "rb") as source:
        return asked, source.read().removesuffix(b"\n")


def main():
    print(f"# Written by record.py with gunicorn {gunicorn.__version__}.")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("conf.py", CONF), ("app.py", APP)):
            with open(os.path.join(folder, name), "w") as out:
                out.write(text)
        for name, form, request, differs in CASES:
            asked, line = serve(form, request, folder)
            print(f"\ncase {name}")
            print(f"format {show(form.encode())}")
            print(f"time {NOW} 345")
            for key in ("pid", "took_us", "status", "sent"):
                print(f"{key} {asked[key]}")
            for key, value in asked["environ"].items():
                if key in WANTED or key.startswith("HTTP_"):
                    print(f"env {key} {show(value.encode('latin-1'))}".rstrip())
            for way in ("in", "out"):
                for key, value in asked[way]:
                    print(f"{way} {key} {show(value.encode('latin-1'))}".rstrip())
            print(f"gunicorn {show(line)}")
            if differs:
                print(f"gateway {show(OURS[name].encode())}")


if __name__ == "__main__":
    main()
