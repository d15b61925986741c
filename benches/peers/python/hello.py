"""The applications that Python's servers are measured with: app, and flask where Flask is there."""

HELLO = b"hello, world\n"
BIG = b"x" * 102_400


def answer(start_response, body):
    length = str(len(body))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", length)])
    return [body]


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/big":
        return answer(start_response, BIG)
    if path == "/post":
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    return answer(start_response, HELLO)


def flask():
    from flask import Flask

    made = Flask(__name__)

    @made.get("/")
    def hello():
        return "hello, world\n"

    return made
