"""The environ as JSON: what is a str, and not ours alone."""

import json


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({name: value for name, value in environ.items() if type(value) is str}).encode()]
