"""The environ as text: a line for each variable."""


def application(environ, start_response):
    lines = [f"{key}: {value!a}\n" for key, value in sorted(environ.items())]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["".join(lines).encode()]
