"""worker_class: what drives a worker."""

from __future__ import annotations

from .. import workers
from .config import Config, ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMES = {
    "sync": "sync",
    "gthread": "gthread",
    "gevent": "gevent",
    "gevent_wsgi": "gevent",
    "gevent_pywsgi": "gevent",
    "tornado": "tornado",
    "asyncio": "asyncio",
    "asgi": "asyncio",
}
"""By gunicorn's short names."""

MODULES = {
    "gunicorn.workers.sync": "sync",
    "gunicorn.workers.gthread": "gthread",
    "gunicorn.workers.ggevent": "gevent",
    "gunicorn.workers.gtornado": "tornado",
    "gunicorn.workers.gasgi": "asyncio",
    "uvicorn.workers": "asyncio",
    "uvicorn_worker": "asyncio",
}
"""By the modules of worker classes that are known."""


def kind_of(cfg: Config) -> str:
    """sync, gthread, gevent, tornado or asyncio; ConfigError."""
    said = cfg.worker_class
    name = (
        said
        if isinstance(said, str)
        else f"{getattr(said, '__module__', '')}.{getattr(said, '__qualname__', said)}"
    )
    where = cfg.said.get("worker_class", "worker_class")
    name = name.removeprefix("egg:gunicorn#")
    if name in NAMES:
        kind = NAMES[name]
    else:
        module = name.replace(":", ".")
        kind = next(
            (kind for known, kind in MODULES.items() if module.startswith(known + ".") or module == known), ""
        )
        if kind:
            cfg.warnings.append(f"{where}: {name} becomes the worker class {kind} of this server")
    if not kind:
        hint = " (gunicorn 26 has removed eventlet: try gevent)" if "eventlet" in name else ""
        raise ConfigError(
            f"{where}: worker_class = {name!r}: it must be sync, gthread, gevent, tornado or asyncio{hint}"
        )
    if kind == "sync" and cfg.threads > 1:
        kind = "gthread"
    return kind


def options_of(cfg: Config) -> dict[str, Any]:
    """What the worker class adds to the keywords of serve()."""
    kind = kind_of(cfg)
    if kind == "sync":
        return {}
    if kind == "gthread":
        return {"threads": max(cfg.threads, 1)}
    settings: dict[str, Any] = {"graceful_timeout": float(cfg.graceful_timeout)} if kind != "tornado" else {}
    if kind == "gevent":
        settings["worker_connections"] = cfg.worker_connections
    elif kind == "asyncio":
        settings |= {"lifespan": cfg.asgi_lifespan, "uvloop": cfg.asgi_loop == "uvloop"}
        if cfg.worker_class != "asyncio":
            settings["interface"] = "asgi"  # gunicorn's and uvicorn's workers are for nothing else
    try:
        worker = workers.get(kind, **settings)
    except ImportError as error:
        raise ConfigError(
            f"{cfg.said['worker_class']}: worker_class {kind} needs a package: {error}"
        ) from None
    except ValueError as error:
        raise ConfigError(f"worker_class {kind}: {error}") from None
    return {**worker.options, "worker": worker}
