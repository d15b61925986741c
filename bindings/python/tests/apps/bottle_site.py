"""Bottle: signed cookies, forms, uploads, streaming, files, error pages, templates; see contract.py."""

import os

import bottle
from bottle import HTTPError, redirect, request, response

from apps import contract

application = app = bottle.Bottle()
TEMPLATE = """<!doctype html>
<title>{{title}}</title>
% if name:
<p>Hello, {{name}}!</p>
% else:
<p>Hello, whoever you are!</p>
% end
<ul>
% for item in items:
<li>{{item}}</li>
% end
</ul>
"""


@app.get("/")
def index():
    return bottle.template(TEMPLATE, title=contract.TITLE, name=request.query.name, items=contract.ITEMS)


@app.get("/login")
def login_form():
    return '<form method="post"><input name="user"></form>'


@app.post("/login")
def login():
    response.set_cookie("user", request.forms.user, secret=contract.SECRET, path="/")
    redirect(request.script_name + "me", 303)


@app.get("/me")
def me():
    user = request.get_cookie("user", secret=contract.SECRET)
    if user is None:
        raise HTTPError(403)
    response.content_type = "text/plain; charset=utf-8"
    return user


@app.post("/logout")
def logout():
    response.delete_cookie("user", path="/")
    redirect(request.script_name, 303)


@app.post("/upload")
def upload():
    file = request.files.file
    return contract.described(request.forms.title, file.raw_filename, file.file.read())


@app.post("/json")
def json():
    return {**request.json, "seen": True}


@app.get("/stream")
def stream():
    response.content_type = "text/plain"
    return contract.Lines(int(request.query.n))


@app.get("/file")
def file():
    root, name = os.path.split(contract.FILE)
    return bottle.static_file(name, root, mimetype="application/octet-stream")


@app.get("/fail")
def fail():
    raise LookupError("failed on purpose")


@app.get("/path/<path:path>")
def path(path):
    response.content_type = "text/plain; charset=utf-8"
    return path


@app.get("/where")
def where():
    return request.urlparts._replace(path=request.script_name, query="").geturl()


@app.error(404)
def missing(error):
    return "<h1>No such page</h1>"


@app.error(500)
def failed(error):
    return "<h1>Sorry</h1>"
