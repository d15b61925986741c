"""worker_class on the command line: which loop drives a worker."""

import signal

import pytest
from command import Gateway
from harness import wait_for

FILES = {
    "asgi.py": """
        import asyncio

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                while (await receive())["type"] != "lifespan.shutdown":
                    await send({"type": "lifespan.startup.complete"})
                return await send({"type": "lifespan.shutdown.complete"})
            await asyncio.sleep(0)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": scope["path"].encode()})

        class Callable:
            async def __call__(self, scope, receive, send):
                await app(scope, receive, send)

        instance = Callable()
    """,
    "kinds.py": """
        def app(environ, start_response):
            import socket, sys
            start_response("200 OK", [])
            patched = socket.socket.__module__.startswith("gevent")
            loop = "tornado" in sys.modules
            return [f"{patched} {loop}".encode()]
    """,
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("kinds")


@pytest.mark.parametrize(
    "kind, app, text, said",
    [
        ("sync", "kinds:app", "False False", ""),
        ("gthread", "kinds:app", "False False", ""),
        ("gunicorn.workers.gthread.ThreadWorker", "kinds:app", "False False", "becomes the worker class gthread"),
        ("gevent", "kinds:app", "True False", ""),
        ("tornado", "kinds:app", "False True", ""),
        ("asyncio", "kinds:app", "False False", ""),
        ("asyncio", "asgi:app", "/x", ""),
        ("uvicorn.workers.UvicornWorker", "asgi:instance", "/x", "becomes the worker class asyncio"),
    ],
)
@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_each_kind_serves(directory, kind, app, text, said, preload):
    if kind == "gevent" and preload:
        preload = []  # what is patched must not have been imported
    with Gateway(directory, "-k", kind, *preload, app, files=FILES) as site:
        assert site.ready().get("/x").text == text
        assert said in site.log() and ("warning" in site.log()) is bool(said)
        assert site.stop() == 0


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent", "tornado"])
@pytest.mark.parametrize("name", ["app", "instance"])
def test_an_asgi_application_needs_a_loop_and_that_is_said(directory, kind, name):
    with Gateway(directory, "-k", kind, f"asgi:{name}", files=FILES) as site:
        status, log = site.ended()
    assert status == 4, log
    assert f"asgi:{name} is an ASGI application: it needs --worker-class asyncio" in log
    assert "Traceback" not in log


def test_a_package_that_is_missing_is_named(directory):
    files = {**FILES, "gevent.py": "raise ImportError('No module named gevent')\n"}
    (directory / "without").mkdir()
    with Gateway(directory / "without", "-k", "gevent", "kinds:app", files=files) as site:
        status, log = site.ended()
    assert status == 1, log
    assert "worker_class gevent needs a package" in log


def test_hup_reloads_an_asgi_application(tmp_path):
    with Gateway(tmp_path, "-k", "asyncio", "asgi:app", files=FILES) as site:
        assert site.ready().get("/x").text == "/x"
        code = (tmp_path / "asgi.py").read_text()
        (tmp_path / "asgi.py").write_text(code.replace('scope["path"].encode()', 'b"new"'))
        site.kill(signal.SIGHUP)
        wait_for("new code", lambda: site.get("/x").text == "new")
