"""WSGI applications on libgateway: gunicorn's arbiter and WSGI's calling convention as a library."""

from ._gateway import ClientGone, Failure, Server, __version__, client_gone, server
from .serving import serve

__all__ = ["ClientGone", "Failure", "Server", "__version__", "client_gone", "make_server", "serve", "server"]


def make_server(host, port, app, **options):
    """wsgiref.simple_server.make_server, on libgateway: port 0 is one that the system chooses."""
    host = f"[{host}]" if ":" in host else host
    return server(app, bind=f"{host}:{port}", **options)
