"""A Flask application that knows nothing of gevent: threading's words are greenlets' once it is patched."""

import threading

from flask import Flask, Response, request

app = Flask(__name__)
barriers = {}
lock = threading.Lock()


@app.get("/meet/<int:count>")
def meet(count):
    with lock:
        barrier = barriers.setdefault(count, threading.Barrier(count))
    barrier.wait(60)
    return "met"


@app.post("/form")
def form():
    return f"Hello, {request.form['name']}"


@app.get("/stream")
def stream():
    return Response((f"line {number}\n" for number in range(10)), mimetype="text/plain")
