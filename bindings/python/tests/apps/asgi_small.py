"""Small ASGI applications, for a comparison of servers: each answers at the path of its name."""

import json

APPS = {}


def small(function):
    APPS["/" + function.__name__] = function
    return function


async def start(send, status=200, headers=()):
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def body(send, data=b"", more=False):
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def whole(receive):
    data, count = b"", 0
    while True:
        message = await receive()
        data += message["body"]
        count += 1
        if not message["more_body"]:
            return data


@small
async def plain(scope, receive, send):
    await start(send, 200, [(b"content-type", b"text/plain"), (b"content-length", b"5")])
    await body(send, b"plain")


@small
async def no_length(scope, receive, send):
    await start(send)
    await body(send, b"no length")


@small
async def pieces(scope, receive, send):
    await start(send)
    for piece in (b"one ", b"", b"two ", b"three"):
        await body(send, piece, True)
    await body(send)


@small
async def empty(scope, receive, send):
    await start(send, 200, [(b"x-empty", b"")])
    await body(send)


@small
async def no_body_key(scope, receive, send):
    await start(send)
    await send({"type": "http.response.body"})


@small
async def no_headers_key(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    await body(send, b"no headers")


@small
async def no_content(scope, receive, send):
    await start(send, 204)
    await body(send)


@small
async def not_modified(scope, receive, send):
    await start(send, 304, [(b"etag", b'"a"')])
    await body(send)


@small
async def moved(scope, receive, send):
    await start(send, 307, [(b"location", b"/elsewhere?a=b")])
    await body(send)


@small
async def not_found(scope, receive, send):
    await start(send, 404, [(b"content-type", b"text/plain")])
    await body(send, b"nothing")


@small
async def teapot(scope, receive, send):
    await start(send, 418)
    await body(send, b"short and stout")


@small
async def two_cookies(scope, receive, send):
    await start(send, 200, [(b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2; HttpOnly")])
    await body(send)


@small
async def headers_of_lists(scope, receive, send):
    await start(send, 200, ([name, b"v"] for name in (b"x-a", b"x-b")))
    await body(send)


@small
async def latin_header(scope, receive, send):
    await start(send, 200, [(b"x-name", "Zo\xeb".encode("latin-1"))])
    await body(send)


@small
async def many_headers(scope, receive, send):
    await start(send, 200, [(b"x-%d" % number, b"%d" % number) for number in range(60)])
    await body(send)


@small
async def large(scope, receive, send):
    await start(send, 200, [(b"content-length", b"1000000")])
    await body(send, bytes(range(250)) * 4000)


@small
async def large_pieces(scope, receive, send):
    await start(send)
    for number in range(20):
        await body(send, bytes([number]) * 70000, number < 19)


@small
async def echo(scope, receive, send):
    data = await whole(receive)
    await start(send, 200, [(b"content-length", b"%d" % len(data))])
    await body(send, data)


@small
async def echo_length(scope, receive, send):
    await start(send)
    await body(send, b"%d" % len(await whole(receive)))


@small
async def unread(scope, receive, send):
    await start(send)
    await body(send, b"unread")


@small
async def first_message(scope, receive, send):
    message = await receive()
    await start(send)
    await body(send, json.dumps([sorted(message), message["type"]]).encode())


@small
async def behind(scope, receive, send):
    """What is told behind the answer, at the next request."""
    await start(send)
    await body(send, json.dumps(told).encode())
    told.clear()
    told.append((await receive())["type"])
    try:
        await body(send, b"too late")
    except RuntimeError:
        told.append("RuntimeError")


told = []


@small
async def state(scope, receive, send):
    scope["state"]["mine"] = "of this request"
    await start(send)
    await body(send, json.dumps(sorted(scope["state"].items())).encode())


@small
async def before(scope, receive, send):
    raise ValueError("expected by the test")


@small
async def returns(scope, receive, send):
    pass


@small
async def wrong_first(scope, receive, send):
    await body(send, b"no head")


@small
async def two_heads(scope, receive, send):
    await start(send)
    try:
        await start(send, 500)
    except RuntimeError:
        await body(send, b"refused")


async def scope_of(scope, receive, send):
    """The scope, as far as it is the same wherever one listens."""
    plain = {}
    for key, value in scope.items():
        if key in ("headers", "raw_path", "query_string"):
            value = repr(value)
        elif key in ("client", "server"):
            value = [value[0], type(value[1]).__name__, len(value), type(value).__name__]
        elif key == "asgi":
            value = [value["version"], sorted(value)]
        elif key in ("extensions", "app"):
            continue
        plain[key] = value
    await start(send)
    await body(send, json.dumps(plain, sort_keys=True).encode())


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["started"] = "once"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await APPS.get(scope["path"], scope_of)(scope, receive, send)
