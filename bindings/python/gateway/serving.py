"""gateway.serve: an application, until a signal ends it."""

from __future__ import annotations

import _thread
import os

from . import _gateway
from .hooks import Hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def program(
    app: Callable | None = None,
    *,
    load: Callable[[], Callable] | None = None,
    hooks: Mapping[str, Callable] | None = None,
    log: Any = None,
    worker: Any = None,
    access: Callable | None = None,
    cfg: Any = None,
    **options: Any,
) -> dict[str, Any]:
    """What the extension takes, of what serve() takes; `cfg` and `access` are the command's."""
    if isinstance(worker, str):
        from . import workers

        worker = workers.get(worker)
    if worker is not None:
        if worker.run is not None and options.get("threads"):
            raise ValueError(f"threads: a worker of the kind {worker.name!r} is driven by one")
        options = {**worker.options, **options, "worker": worker}
    errorlog = options.get("errorlog", "-")
    record: Callable | None = None
    logger = None
    if log is not None:
        import logging

        from . import logs

        errorlog = "-"
        logger = log if hasattr(log, "log") else logging.getLogger("gunicorn.error")
        record = logs.to_library(log) if hasattr(log, "log") else log
        if isinstance(log, logging.Logger):
            options.setdefault("loglevel", logs.level(log))
    workers = options.get("workers", 1)
    said = Hooks(
        hooks,
        cfg=cfg,
        log=logger,
        workers=workers if isinstance(workers, int) else 1,
        address=options.get("bind"),
        traceback=errorlog,
        level=str(options.get("loglevel", "info")),
        access=access,
    )
    given = dict(options)
    events = said.of_library()
    said.server.app = app
    if load is not None:

        def loading() -> Callable:
            loaded = load()
            said.loaded(loaded)
            return loaded

        given["load"] = loading
    elif "post_worker_init" in said.user:
        events["worker_init"] = lambda *_: said.loaded(app)
    if app is not None:
        given["app"] = app
    if record is not None:
        given["log"] = record
    given["hooks"] = events
    return given


def serve(
    app: Callable | None = None,
    *,
    load: Callable[[], Callable] | None = None,
    hooks: Mapping[str, Callable] | None = None,
    log: Any = None,
    worker: Any = None,
    **options: Any,
) -> None:
    """Serve a WSGI application until a signal ends it: TERM gracefully, INT and QUIT at once.

    `app` is loaded already, and shared with the workers; `load` is called instead in each worker, after
    the fork, and returns it. `hooks` are gunicorn's, by name: on_starting, when_ready, pre_fork,
    post_fork, post_worker_init, worker_int, worker_abort, worker_exit, child_exit, nworkers_changed,
    on_reload, pre_exec, on_exit, pre_request, post_request. `log` takes the log: a logging.Logger, or a
    function of (level, target, message, id). `worker` is what drives a worker: "asyncio" (ASGI 3),
    "gevent", "tornado", or an object of gateway.workers; the library's own loop where there is none.
    Every option of the library is a keyword: workers, threads, bind ...

    It is for the main thread, since signals are: in others say signals=False, or use gateway.server().
    gateway.Failure: it did not start. TypeError, ValueError: an option that there is not, or a value.
    """
    _main_thread(options)
    _gateway.serve(**program(app, load=load, hooks=hooks, log=log, worker=worker, **options))


def _main_thread(options: Mapping[str, Any]) -> None:
    handles = str(options.get("signals", "auto")).lower() not in ("0", "false", "no", "off")
    if handles and _thread.get_native_id() != os.getpid():
        raise RuntimeError(
            "gateway.serve() handles signals, which only the main thread of Python does: call it there, say "
            "signals=False, or use gateway.server(), whose serve_forever() any thread may run"
        )
