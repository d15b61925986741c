"""What the tests of the harness itself, and any test that needs just an application, serve."""

from harness import note


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def broken(environ, start_response):
    raise LookupError("broken on purpose")


def noted(environ, start_response):
    note("called " + environ["PATH_INFO"])
    return application(environ, start_response)
