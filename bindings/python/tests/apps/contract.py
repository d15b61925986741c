"""What each of the framework applications does, by the means of its framework; test_frameworks.py has the
client's side:

GET /?name=...          a page from a template, which escapes
GET /login              a form, with the framework's protection against forgery where it has one
POST /login             user=...: a session; leads to /me
GET /me                 who is in the session; 403 without one
POST /logout            no session any more
POST /upload            a form with a title and a file: what came, as JSON
POST /json              the same object back, with one thing added
GET /stream?n=...       lines, one chunk each; a note when it is closed
GET /file               a file, by wsgi.file_wrapper where the framework uses it
GET /fail               an exception: the error page of the application, and a traceback in the log
GET /missing            the error page for 404
GET /path/...           the path, as text
GET /where              the URL of the root, as the application would link to it
"""

import hashlib
import os
import tempfile

SECRET = "of the tests, and no secret"
TITLE = "A page"
ITEMS = ["one", "<two>", "three & four"]

FILE = os.path.join(tempfile.gettempdir(), f"gateway-test-{os.getuid()}.bin")


def make_file():
    """200,000 octets that are the same in each process."""
    octets = b"".join(b"%09d\n" % i for i in range(20000))
    if not os.path.exists(FILE) or os.path.getsize(FILE) != len(octets):
        part = f"{FILE}.{os.getpid()}"
        with open(part, "wb") as out:
            out.write(octets)
        os.replace(part, FILE)
    return FILE


make_file()


def described(title, name, octets):
    return {"title": title, "name": name, "size": len(octets), "sha256": hashlib.sha256(octets).hexdigest()}


class Lines:
    """An iterable of lines that tells when it is closed."""

    def __init__(self, n):
        self.left = iter(range(n))

    def __iter__(self):
        return self

    def __next__(self):
        return b"line %d\n" % next(self.left)

    def close(self):
        from harness import note

        note("close lines")
