"""A blog, as the tutorial of Flask describes one: a factory, a database, two blueprints, templates, messages."""

import os

from flask import Flask


def create_app(test_config=None):
    app = Flask(__name__, instance_path=os.environ.get("FLASKR_INSTANCE"), instance_relative_config=True)
    app.config.from_mapping(SECRET_KEY="dev", DATABASE=os.path.join(app.instance_path, "flaskr.sqlite"))
    if test_config is not None:
        app.config.from_mapping(test_config)
    os.makedirs(app.instance_path, exist_ok=True)

    @app.get("/hello")
    def hello():
        return "Hello, World!"

    from . import auth, blog, db

    db.init_app(app)
    app.register_blueprint(auth.bp)
    app.register_blueprint(blog.bp)
    app.add_url_rule("/", endpoint="index")
    return app
