"""WSGI applications on libgateway: gunicorn's arbiter and WSGI's calling convention as a library."""

from . import _gateway
from ._gateway import ClientGone, Failure, Server, __version__, client_gone, server

__all__ = ["ClientGone", "Failure", "Server", "__version__", "client_gone", "make_server", "serve", "server"]


def serve(app=None, *, worker=None, **options):
    """Serve an application until a signal ends it; every option of the library is a keyword.

    `worker` is what drives a worker: "asyncio" (ASGI 3), "gevent", "tornado", or an object of
    gateway.workers; the library's own loop where there is none.
    """
    if isinstance(worker, str):
        from . import workers

        worker = workers.get(worker)
    if worker is not None:
        options = {**worker.options, **options}
    return _gateway.serve(app, worker=worker, **options)


def make_server(host, port, app, **options):
    """wsgiref.simple_server.make_server, on libgateway: port 0 is one that the system chooses."""
    host = f"[{host}]" if ":" in host else host
    return server(app, bind=f"{host}:{port}", **options)
