"""A Starlette application with what such applications have, and a FastAPI one."""

import asyncio
import contextlib
import os
from typing import Annotated

import harness
from fastapi import BackgroundTasks, Depends, FastAPI, File, Form, HTTPException, UploadFile
from fastapi.responses import StreamingResponse as FastStreamingResponse
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

HERE = os.path.dirname(os.path.abspath(__file__))


@contextlib.asynccontextmanager
async def lifespan(app):
    harness.note("startup")
    yield {"database": "open"}
    harness.note("shutdown")


async def home(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return PlainTextResponse(f"{request.session['visits']} {request.state.database}")


async def form(request):
    async with request.form() as form:
        return JSONResponse({"name": form["name"], "colours": form.getlist("colour")})


async def upload(request):
    async with request.form() as form:
        file = form["file"]
        data = await file.read()
        return JSONResponse(
            {"name": file.filename, "size": len(data), "sum": sum(data), "note": form["note"]}
        )


async def stream(request):
    async def lines():
        for number in range(int(request.query_params.get("n", 5))):
            await asyncio.sleep(0)
            yield f"line {number}\n"

    return StreamingResponse(lines(), media_type="text/plain")


async def endless(request):
    async def pieces():
        try:
            while True:
                yield b"x" * 65536
        finally:
            harness.note("stream closed")

    return StreamingResponse(pieces())


async def events(request):
    """A stream of events, which ends when the client has left."""

    async def pieces():
        yield "data: first\n\n"
        while not await request.is_disconnected():
            await asyncio.sleep(0.005)
        harness.note("events disconnected")

    return StreamingResponse(pieces(), media_type="text/event-stream")


async def swallow(request):
    """The body as it comes."""
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if not size - len(piece):
                harness.note("first piece")
    except ClientDisconnect:
        harness.note("ClientDisconnect")
        raise
    return PlainTextResponse(str(size))


async def file(request):
    return FileResponse(os.path.join(HERE, "stars.py"), filename="stars.py")


async def background(request):
    async def later():
        harness.note("background")

    return PlainTextResponse("answered", background=BackgroundTask(later))


def blocking(request):
    """Runs in a thread."""
    import threading

    return PlainTextResponse(str(threading.current_thread() is threading.main_thread()))


async def boom(request):
    raise RuntimeError("boom")


async def refused(request):
    raise StarletteHTTPException(403, "not you")


async def not_found(request, error):
    return HTMLResponse(f"<h1>no {request.url.path}</h1>", 404)


async def failed(request, error):
    return HTMLResponse(f"<h1>sorry: {error}</h1>", 500)


async def url(request):
    return PlainTextResponse(
        f"{request.url} {request.url_for('file')} {request.client and request.client.host}"
    )


async def socket(websocket):
    raise AssertionError("a WebSocket came here")


app = Starlette(
    routes=[
        Route("/", home),
        Route("/form", form, methods=["POST"]),
        Route("/upload", upload, methods=["POST"]),
        Route("/stream", stream),
        Route("/endless", endless),
        Route("/events", events),
        Route("/swallow", swallow, methods=["POST"]),
        Route("/file", file, name="file"),
        Route("/background", background),
        Route("/blocking", blocking),
        Route("/boom", boom),
        Route("/refused", refused),
        Route("/redirect", lambda request: RedirectResponse("/file")),
        Route("/url", url),
        WebSocketRoute("/socket", socket),
        Mount("/static", StaticFiles(directory=HERE)),
    ],
    middleware=[
        Middleware(SessionMiddleware, secret_key="of a test"),
        Middleware(GZipMiddleware, minimum_size=500),
    ],
    exception_handlers={404: not_found, 500: failed},
    lifespan=lifespan,
)


# ---- FastAPI ----

fast = FastAPI(title="Gateway")


class Item(BaseModel):
    name: str
    price: float = Field(gt=0)


async def page(number: int = 1):
    return number


def sync_resource():
    harness.note("opened")
    yield "resource"
    harness.note("closed")


@fast.post("/items", status_code=201)
async def create(item: Item) -> Item:
    return item


@fast.get("/items/{identity}")
async def item(
    identity: int, number: Annotated[int, Depends(page)], resource: Annotated[str, Depends(sync_resource)]
):
    if identity == 0:
        raise HTTPException(404, "no such item")
    return {"id": identity, "page": number, "resource": resource}


@fast.post("/upload")
async def fast_upload(file: Annotated[UploadFile, File()], note: Annotated[str, Form()]):
    return {"name": file.filename, "size": len(await file.read()), "note": note}


@fast.get("/stream")
def fast_stream():
    return FastStreamingResponse((f"{number}\n" for number in range(3)), media_type="text/plain")


@fast.post("/later")
async def later(tasks: BackgroundTasks):
    tasks.add_task(harness.note, "task done")
    return {"accepted": True}


@fast.get("/boom")
def fast_boom():
    raise ValueError("fast boom")
