"""WSGI applications on libgateway: gunicorn's arbiter and WSGI's calling convention as a library."""

from __future__ import annotations

from ._gateway import ClientGone, Failure, Server, __version__, client_gone, server
from .serving import serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _typeshed.wsgi import WSGIApplication

__all__ = ["ClientGone", "Failure", "Server", "__version__", "client_gone", "make_server", "serve", "server"]


def make_server(host: str, port: int, app: WSGIApplication, **options: Any) -> Server:
    """wsgiref.simple_server.make_server, on libgateway: port 0 is one that the system chooses."""
    host = f"[{host}]" if ":" in host else host
    return server(app, bind=f"{host}:{port}", **options)
