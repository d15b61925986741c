"""Flask: sessions, forms, uploads, streaming, files, error pages, templates; see contract.py."""

import flask

from apps import contract

application = app = flask.Flask(__name__, template_folder="templates")
app.secret_key = contract.SECRET
app.config["MAX_CONTENT_LENGTH"] = 8 << 20


@app.get("/")
def index():
    name = flask.request.args.get("name")
    return flask.render_template("page.html", title=contract.TITLE, name=name, items=contract.ITEMS)


@app.get("/login")
def login_form():
    return '<form method="post"><input name="user"></form>'


@app.post("/login")
def login():
    flask.session["user"] = flask.request.form["user"]
    return flask.redirect(flask.url_for("me"), 303)


@app.get("/me")
def me():
    if "user" not in flask.session:
        flask.abort(403)
    return flask.Response(flask.session["user"], mimetype="text/plain")


@app.post("/logout")
def logout():
    flask.session.clear()
    return flask.redirect(flask.url_for("index"), 303)


@app.post("/upload")
def upload():
    file = flask.request.files["file"]
    return contract.described(flask.request.form["title"], file.filename, file.read())


@app.post("/json")
def json():
    return {**flask.request.get_json(), "seen": True}


@app.get("/stream")
def stream():
    return flask.Response(contract.Lines(int(flask.request.args["n"])), mimetype="text/plain")


@app.get("/file")
def file():
    return flask.send_file(contract.FILE, mimetype="application/octet-stream", conditional=True)


@app.get("/fail")
def fail():
    raise LookupError("failed on purpose")


@app.get("/path/<path:path>")
def path(path):
    return flask.Response(path, mimetype="text/plain")


@app.get("/where")
def where():
    return flask.Response(flask.url_for("index", _external=True), mimetype="text/plain")


@app.errorhandler(404)
def missing(error):
    return "<h1>No such page</h1>", 404


@app.errorhandler(500)
def failed(error):
    return "<h1>Sorry</h1>", 500
