"""Falcon: cookies, forms, uploads, streaming, files, error handlers; see contract.py.  It has no templates
and no sessions of its own: the standard library's, and a signed cookie."""

import hashlib
import hmac
import html
import traceback
from string import Template

import falcon

from apps import contract

PAGE = Template("<!doctype html>\n<title>$title</title>\n<p>Hello, $name!</p>\n<ul>$items</ul>\n")


def signed(user):
    return (
        user.encode().hex()
        + "."
        + hmac.new(contract.SECRET.encode(), user.encode(), hashlib.sha256).hexdigest()
    )


def user_of(req):
    [cookie] = req.get_cookie_values("user") or [""]
    user = bytes.fromhex(cookie.partition(".")[0]).decode()
    return user if cookie and hmac.compare_digest(cookie, signed(user)) else None


class Index:
    def on_get(self, req, resp):
        resp.content_type = falcon.MEDIA_HTML
        items = "".join(f"<li>{html.escape(item)}</li>" for item in contract.ITEMS)
        name = html.escape(req.get_param("name") or "whoever you are")
        resp.text = PAGE.substitute(title=contract.TITLE, name=name, items=items)


class Login:
    def on_get(self, req, resp):
        resp.content_type = falcon.MEDIA_HTML
        resp.text = '<form method="post"><input name="user"></form>'

    def on_post(self, req, resp):
        resp.set_cookie("user", signed(req.get_media()["user"]), path="/", secure=False)
        raise falcon.HTTPSeeOther(req.app + "/me", headers=dict(resp.headers))

    def on_post_out(self, req, resp):
        resp.unset_cookie("user", path="/")
        resp.status = falcon.HTTP_303
        resp.location = req.app + "/"


class Me:
    def on_get(self, req, resp):
        user = user_of(req)
        if user is None:
            raise falcon.HTTPForbidden()
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = user


class Upload:
    def on_post(self, req, resp):
        for part in req.get_media():
            if part.name == "title":
                title = part.text
            else:
                name, octets = part.filename, part.stream.read()
        resp.media = contract.described(title, name, octets)


class Json:
    def on_post(self, req, resp):
        resp.media = {**req.get_media(), "seen": True}


class Stream:
    def on_get(self, req, resp):
        resp.content_type = falcon.MEDIA_TEXT
        resp.stream = contract.Lines(req.get_param_as_int("n"))


class Fail:
    def on_get(self, req, resp):
        raise LookupError("failed on purpose")


class Path:
    def on_get(self, req, resp, path):
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = path


class Where:
    def on_get(self, req, resp):
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = req.prefix + "/"


def missing(req, resp, error, params):
    resp.status, resp.content_type, resp.text = falcon.HTTP_404, falcon.MEDIA_HTML, "<h1>No such page</h1>"


def failed(req, resp, error, params):
    if isinstance(error, falcon.HTTPStatus | falcon.HTTPError):
        raise error
    traceback.print_exception(error, file=req.env["wsgi.errors"])
    resp.status, resp.content_type, resp.text = falcon.HTTP_500, falcon.MEDIA_HTML, "<h1>Sorry</h1>"


application = app = falcon.App()
app.add_route("/", Index())
app.add_route("/login", Login())
app.add_route("/logout", Login(), suffix="out")
app.add_route("/me", Me())
app.add_route("/upload", Upload())
app.add_route("/json", Json())
app.add_route("/stream", Stream())
app.add_static_route(
    "/file", contract.FILE.rpartition("/")[0], fallback_filename=contract.FILE.rpartition("/")[2]
)
app.add_route("/fail", Fail())
app.add_route("/path/{path:path}", Path())
app.add_route("/where", Where())
app.add_error_handler(Exception, failed)
app.add_error_handler(falcon.HTTPNotFound, missing)
