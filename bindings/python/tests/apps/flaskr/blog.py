"""The posts: everybody reads, who is logged in writes, and only the author changes."""

from flask import Blueprint, abort, flash, g, redirect, render_template, request, url_for

from .auth import login_required
from .db import get_db

bp = Blueprint("blog", __name__)
POSTS = """SELECT p.id, title, body, created, author_id, username FROM post p JOIN user u ON p.author_id = u.id
           {} ORDER BY created DESC, p.id DESC"""


@bp.get("/")
def index():
    return render_template("index.html", posts=get_db().execute(POSTS.format("")).fetchall())


def own_post(id):
    post = get_db().execute(POSTS.format("WHERE p.id = ?"), (id,)).fetchone()
    if post is None:
        abort(404, f"Post id {id} doesn't exist.")
    if post["author_id"] != g.user["id"]:
        abort(403)
    return post


def save(statement, *values):
    """Save the form, or say what it lacks."""
    if not request.form["title"]:
        flash("Title is required.")
        return False
    get_db().execute(statement, (request.form["title"], request.form["body"], *values))
    get_db().commit()
    return True


@bp.route("/create", methods=("GET", "POST"))
@login_required
def create():
    sql = "INSERT INTO post (title, body, author_id) VALUES (?, ?, ?)"
    if request.method == "POST" and save(sql, g.user["id"]):
        return redirect(url_for("index"))
    return render_template("post.html", title="New Post", post=None)


@bp.route("/<int:id>/update", methods=("GET", "POST"))
@login_required
def update(id):
    post = own_post(id)
    if request.method == "POST" and save("UPDATE post SET title = ?, body = ? WHERE id = ?", id):
        return redirect(url_for("index"))
    return render_template("post.html", title=f'Edit "{post["title"]}"', post=post)


@bp.post("/<int:id>/delete")
@login_required
def delete(id):
    own_post(id)
    get_db().execute("DELETE FROM post WHERE id = ?", (id,))
    get_db().commit()
    return redirect(url_for("index"))
