"""What drives a worker: the library's own loop, threads, or an event loop of Python's.

`get("gevent")` is an object with four methods, which are called in this order:

* `setup()`, first in a worker, before the application is loaded;
* `application(app)` says what is given to the library in the application's place. It may be called
  with None before the application is there, and again when it is;
* `start()`, when the application is loaded, and before the worker counts as ready: `Refused` is
  raised where it cannot serve;
* `run(server)` drives the server until its `turn()` returns None. `run` is None where the library's
  own loop does that.

`options` are options of the library that a kind wants where nobody says otherwise.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["KINDS", "Refused", "Worker", "get"]

#: Names for `get`, and for `-k`, with the module and the class of each.
KINDS = {
    "sync": ("gateway.workers", "Sync"),
    "gthread": ("gateway.workers", "Threads"),
    "asyncio": ("gateway.workers.asyncio_", "Asyncio"),
    "gevent": ("gateway.workers.gevent_", "Gevent"),
    "tornado": ("gateway.workers.tornado_", "Tornado"),
}


class Refused(Exception):
    """A worker cannot serve this application: the message says why; the program ends with 3."""

    exit_status = 3


class Worker:
    """What every kind of worker has. `settings` are those of the kind; others are a TypeError."""

    name = ""
    options: Mapping[str, Any] = MappingProxyType({})
    run: Callable[[Any], None] | None = None

    def __init__(self, **settings: Any) -> None:
        if settings:
            raise TypeError(f"the {self.name} worker has no setting {', '.join(settings)}")

    def setup(self) -> None:
        """First in the worker, before the application is loaded."""

    def application(self, app: Any) -> Any:
        """What the library is given in the place of `app`."""
        return app

    def start(self) -> None:
        """The application is loaded; raises Refused where it cannot be served."""


class Sync(Worker):
    """One request at a time, on the library's loop."""

    name = "sync"


class Threads(Worker):
    """The library's loop, and threads that call the application."""

    name = "gthread"
    options = MappingProxyType({"threads": 4})


def get(name: str, **settings: Any) -> Worker:
    """A new worker of this kind; ImportError says what is to be installed for it."""
    try:
        module, kind = KINDS[name]
    except KeyError:
        raise ValueError(f"there is no worker {name!r}: {', '.join(KINDS)}") from None
    return getattr(importlib.import_module(module), kind)(**settings)
