"""Bottle on libgateway, by its name or by its class:

    import bottle
    import gateway.bottle               # bottle knows server="gateway" from now on

    bottle.run(app, server="gateway", host="127.0.0.1", port=8000, workers=4)

On the command line, where nothing imports it before:

    python -m bottle --server gateway.bottle:GatewayServer --bind 127.0.0.1:8000 module:app

Further arguments of run() are options of gateway.serve().  With bottle's reloader (reloader=True) there is
one process that serves, whatever `workers` says: the reloader is a thread in it, and it does not fork.
"""

import os
import select

import bottle

from . import make_server, serve

__all__ = ["GatewayServer"]


class GatewayServer(bottle.ServerAdapter):
    """What bottle.run() calls: one worker unless `workers` says otherwise, as its other servers."""

    def run(self, handler):
        options = dict(self.options)
        if self.quiet:
            options.setdefault("loglevel", "warning")
        if os.environ.get("BOTTLE_CHILD"):
            options.pop("workers", None)
            return self.turn(handler, options)
        options.setdefault("workers", 1)
        if "bind" not in options:
            host = f"[{self.host}]" if ":" in self.host else self.host
            options["bind"] = f"{host}:{self.port}"
        serve(handler, **options)

    def turn(self, handler, options):
        # The reloader ends this by an interrupt that wakes nobody: look up twice a second.
        with make_server(self.host, self.port, handler, **options) as server:
            while (wait := server.turn()) is not None:
                select.select([server], [], [], 0.5 if wait < 0 else min(wait, 0.5))


bottle.server_names["gateway"] = GatewayServer
