"""All the frameworks in one process, below their prefixes, within middleware of the old school: what is
compressed on its way out, a session by a cookie, a clock, and a router that shifts SCRIPT_NAME."""

import gzip
import importlib
import secrets
import time
from http.cookies import SimpleCookie
from wsgiref.util import shift_path_info
from wsgiref.validate import validator

from harness import note


class Gzip:
    """Whole bodies, where the client wants that: a middleware that has to pass close() on, and takes the
    place of start_response and of write."""

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        if "gzip" not in environ.get("HTTP_ACCEPT_ENCODING", ""):
            return self.app(environ, start_response)
        head, written = [], []

        def start(status, headers, exc_info=None):
            if exc_info and head:
                head.clear()
            head[:] = [status, headers, exc_info]
            return written.append

        iterable = self.app(environ, start)
        try:
            written.extend(iterable)
        finally:
            if hasattr(iterable, "close"):
                iterable.close()
        status, headers, exc_info = head
        body = b"".join(written)
        if body:
            body = gzip.compress(body, 1)
            headers = [pair for pair in headers if pair[0].lower() != "content-length"]
            headers += [("Content-Encoding", "gzip"), ("Content-Length", str(len(body)))]
        start_response(status, headers, exc_info)
        return [body]


class Sessions:
    """environ["tests.session"], a dict for each cookie, in this process."""

    def __init__(self, app):
        self.app, self.sessions = app, {}

    def __call__(self, environ, start_response):
        cookie = SimpleCookie(environ.get("HTTP_COOKIE", "")).get("stack")
        key = cookie.value if cookie and cookie.value in self.sessions else secrets.token_hex(8)
        session = environ["tests.session"] = self.sessions.setdefault(key, {"visits": 0})
        session["visits"] += 1

        def start(status, headers, *exc_info):
            cookie = ("Set-Cookie", f"stack={key}; Path=/; HttpOnly")
            return start_response(status, [*headers, cookie, ("X-Visits", str(session["visits"]))], *exc_info)

        return self.app(environ, start)


class Clock:
    """An iterable around an iterable: how long it took is told when it is closed."""

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        return Clocked(self.app(environ, start_response), environ["SCRIPT_NAME"] + environ["PATH_INFO"])


class Clocked:
    def __init__(self, iterable, path):
        self.iterable, self.path, self.began = iterable, path, time.monotonic()

    def __iter__(self):
        return iter(self.iterable)

    def close(self):
        if hasattr(self.iterable, "close"):
            self.iterable.close()
        note(f"took {self.path} {'some time' if time.monotonic() >= self.began else ''}")


class Router:
    def __init__(self, apps):
        self.apps = apps

    def __call__(self, environ, start_response):
        app = self.apps.get(environ["PATH_INFO"].lstrip("/").split("/")[0])
        if app is None:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"no such application\n"]
        shift_path_info(environ)
        return app(environ, start_response)


FRAMEWORKS = {
    "flask": "apps.flask_site",
    "bottle": "apps.bottle_site",
    "falcon": "apps.falcon_site",
    "pyramid": "apps.pyramid_site",
    "django": "apps.django_site.wsgi",
}

application = Clock(
    Sessions(
        Gzip(
            Router({name: importlib.import_module(module).application for name, module in FRAMEWORKS.items()})
        )
    )
)
checked = validator(application)
