"""What a program with annotations calls: mypy --strict has nothing to say about it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import gateway
from gateway import workers
from gateway.workers import asyncio_

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"gone" if gateway.client_gone(environ) else b"hello"]


async def api(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})


def record(level: int, target: str, message: str, ident: str) -> None:
    print(level, target, message, ident)


class Mine(workers.Worker):
    name = "mine"


def turned() -> None:
    with gateway.make_server("127.0.0.1", 0, app, threads=2, keepalive="5s") as server:
        server.handle_request()
    hooks = {"pre_request": print}
    server = gateway.server(app, bind=["127.0.0.1:0", "unix:x"], hooks=hooks, log=record)
    while (wait := server.turn()) is not None:
        print(server.fileno(), wait + 1.0)
    server.server_close()


def served() -> int:
    try:
        gateway.serve(app, workers=2, bind=":8000", hooks={"post_fork": lambda server, worker: None})
        gateway.serve(load=lambda: app, worker=Mine(), log=logging.getLogger())
        gateway.serve(api, worker="asyncio")
    except gateway.Failure as failure:
        print(failure.args[0])
    return 0


async def looped() -> None:
    async with await asyncio_.start(api, bind="127.0.0.1:0") as running:
        print(running.server_address)
    attached = asyncio_.attach(gateway.server(app))
    attached.shutdown()
    await attached.wait_closed()
