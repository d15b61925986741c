"""Who is there: registration, login, logout."""

import functools

from flask import Blueprint, flash, g, redirect, render_template, request, session, url_for
from werkzeug.security import check_password_hash, generate_password_hash

from .db import get_db

bp = Blueprint("auth", __name__, url_prefix="/auth")


@bp.before_app_request
def load_user():
    user = session.get("user_id")
    g.user = user and get_db().execute("SELECT * FROM user WHERE id = ?", (user,)).fetchone()


def login_required(view):
    @functools.wraps(view)
    def wrapped(**kwargs):
        return view(**kwargs) if g.user else redirect(url_for("auth.login"))

    return wrapped


@bp.route("/register", methods=("GET", "POST"))
def register():
    if request.method == "POST":
        username, password = request.form["username"], request.form["password"]
        error = "Username is required." if not username else "Password is required." if not password else None
        if error is None:
            db = get_db()
            try:
                hashed = generate_password_hash(password, "pbkdf2:sha256:1000")
                db.execute("INSERT INTO user (username, password) VALUES (?, ?)", (username, hashed))
                db.commit()
            except db.IntegrityError:
                error = f"User {username} is already registered."
            else:
                return redirect(url_for("auth.login"))
        flash(error)
    return render_template("auth.html", title="Register")


@bp.route("/login", methods=("GET", "POST"))
def login():
    if request.method == "POST":
        username, password = request.form["username"], request.form["password"]
        user = get_db().execute("SELECT * FROM user WHERE username = ?", (username,)).fetchone()
        if user is None:
            flash("Incorrect username.")
        elif not check_password_hash(user["password"], password):
            flash("Incorrect password.")
        else:
            session.clear()
            session["user_id"] = user["id"]
            return redirect(url_for("index"))
    return render_template("auth.html", title="Log In")


@bp.get("/logout")
def logout():
    session.clear()
    return redirect(url_for("index"))
