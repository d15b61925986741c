"""Pyramid: sessions, forms, uploads, streaming, files, exception views, templates; see contract.py."""

import os
import sys
import traceback

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden, HTTPSeeOther
from pyramid.response import FileResponse, Response
from pyramid.session import SignedCookieSessionFactory

from apps import contract


def index(request):
    return {"title": contract.TITLE, "name": request.params.get("name"), "items": contract.ITEMS}


def login_form(request):
    return Response('<form method="post"><input name="user"></form>')


def login(request):
    request.session["user"] = request.POST["user"]
    return HTTPSeeOther(request.route_path("me"))


def me(request):
    if "user" not in request.session:
        raise HTTPForbidden()
    return Response(request.session["user"], content_type="text/plain", charset="utf-8")


def logout(request):
    request.session.invalidate()
    return HTTPSeeOther(request.route_path("index"))


def upload(request):
    file = request.POST["file"]
    return contract.described(request.POST["title"], file.filename, file.file.read())


def json(request):
    return {**request.json_body, "seen": True}


def stream(request):
    return Response(app_iter=contract.Lines(int(request.params["n"])), content_type="text/plain")


def file(request):
    return FileResponse(contract.FILE, request, content_type="application/octet-stream")


def fail(request):
    raise LookupError("failed on purpose")


def path(request):
    return Response("/".join(request.matchdict["path"]), content_type="text/plain", charset="utf-8")


def where(request):
    return Response(request.route_url("index"), content_type="text/plain")


def missing(request):
    return Response("<h1>No such page</h1>", status=404)


def failed(error, request):
    traceback.print_exception(error, file=request.environ.get("wsgi.errors", sys.stderr))
    return Response("<h1>Sorry</h1>", status=500)


def make_app():
    with Configurator() as config:
        config.include("pyramid_jinja2")
        config.add_jinja2_renderer(".html")
        config.add_jinja2_search_path(os.path.join(os.path.dirname(__file__), "templates"), name=".html")
        config.set_session_factory(SignedCookieSessionFactory(contract.SECRET))
        for name, method, view, renderer in (
            ("index", "GET", index, "page.html"),
            ("login", "GET", login_form, None),
            ("login", "POST", login, None),
            ("me", "GET", me, None),
            ("logout", "POST", logout, None),
            ("upload", "POST", upload, "json"),
            ("json", "POST", json, "json"),
            ("stream", "GET", stream, None),
            ("file", "GET", file, None),
            ("fail", "GET", fail, None),
            ("path", "GET", path, None),
            ("where", "GET", where, None),
        ):
            if (name, method) != ("login", "POST"):
                config.add_route(name, {"index": "/", "path": "/path/*path"}.get(name, "/" + name))
            config.add_view(view, route_name=name, request_method=method, renderer=renderer)
        config.add_notfound_view(missing)
        config.add_exception_view(failed, context=LookupError)
        return config.make_wsgi_app()


application = app = make_app()
