"""WSGI applications on libgateway: gunicorn's arbiter and WSGI's calling convention as a library."""

from ._gateway import __version__, serve

__all__ = ["__version__", "serve"]
