"""Flask, Bottle, Falcon, Pyramid and Django on libgateway, as a browser sees them.

apps/contract.py says what each of their applications does.  Each is served alone, with threads, and below
a prefix in apps/stack.py, within four middlewares.
"""

import gzip
import hashlib
import json
import re
import sys
from http.cookies import SimpleCookie

import nginx
import pytest
from apps import contract
from harness import HERE

FRAMEWORKS = {
    "flask": "apps.flask_site",
    "bottle": "apps.bottle_site",
    "falcon": "apps.falcon_site",
    "pyramid": "apps.pyramid_site",
    "django": "apps.django_site.wsgi",
}

PLACES = [(name, how) for name in FRAMEWORKS for how in ("serial", "threads", "stack", "nginx")]


class Browser:
    """A client with cookies, which sees one application below its prefix."""

    def __init__(self, site, prefix=""):
        self.site, self.prefix, self.cookies = site, prefix, {}

    def request(self, method, path, body=None, headers=()):
        headers = dict(headers)
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = self.site.request(method, self.prefix + path, body, headers)
        for name, value in answer.headers:
            if name.lower() == "set-cookie":
                for cookie in SimpleCookie(value).values():
                    if cookie.value and cookie["max-age"] != "0":
                        self.cookies[cookie.key] = cookie.coded_value
                    else:
                        self.cookies.pop(cookie.key, None)
        return answer

    def get(self, path, headers=()):
        return self.request("GET", path, None, headers)

    def post(self, path, body, kind, headers=()):
        return self.request("POST", path, body, {"Content-Type": kind, **dict(headers)})


@pytest.fixture(scope="module")
def sites(serve_module, nginx_module, tmp_path_factory):
    """One server for each way of serving, started when it is first asked for."""
    found = {}
    env = {"GATEWAY_TEST_SESSIONS": str(tmp_path_factory.mktemp("sessions"))}

    def get(name, how):
        app = "apps.stack" if how == "stack" else how if how == "nginx" else FRAMEWORKS[name]
        if (app, how) not in found:
            options = {"threads": 2} if how == "threads" else {}
            if how == "nginx":
                # All of them in its one worker; with what the tests have installed.
                inside = f"gateway_module {nginx.MODULE} venv={sys.prefix} path={HERE}"
                places = [f"location /{name}/ {{ {inside} {module}; }}" for name, module in FRAMEWORKS.items()]
                found[app, how] = nginx_module("gateway_threads 2;" + "\n".join(places), env=env)
            else:
                found[app, how] = serve_module(app, env=env, **options)
            found[app, how].expected += ["LookupError: failed on purpose", "MultiValueDictKeyError: 'file'"]
            found[app, how].expected += ["in on_post\n"]
        return found[app, how]

    return get


@pytest.fixture(params=PLACES, ids="-".join)
def browser(sites, request):
    name, how = request.param
    if how == "nginx" and not nginx.IS_BUILT:
        pytest.skip(nginx.NOT_BUILT)
    browser = Browser(sites(name, how), "/" + name if how in ("stack", "nginx") else "")
    browser.name = name
    return browser


NO_CHUNKS = {"bottle": 400, "falcon": 500, "django": 500}
"""Frameworks that know of no body without Content-Length, here or elsewhere, and what becomes of one."""

FORM = "application/x-www-form-urlencoded"


def test_a_page(browser):
    answer = browser.get("/?name=%C3%A9%3Cb%3E")
    assert (answer.status, answer["content-type"].replace("UTF-8", "utf-8")) == (
        200,
        "text/html; charset=utf-8",
    )
    assert "<title>A page</title>" in answer.text and "Hello, \u00e9&lt;b&gt;!" in answer.text
    assert "<li>&lt;two&gt;</li>" in answer.text and "<li>three &amp; four</li>" in answer.text
    assert "Hello, whoever you are!" in browser.get("/").text


def test_head(browser):
    got, head = browser.get("/"), browser.request("HEAD", "/")
    if browser.name == "falcon":  # it has no HEAD for a resource with GET
        assert head.status == 405
        return
    assert (head.status, head.body) == (200, b"")
    if browser.name != "django":  # whose page is made anew, and as long
        assert head["content-length"] in (got["content-length"], None)


def test_a_session(browser):
    assert browser.get("/me").status == 403
    form = browser.get("/login").text
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
    body = "user=Ren%C3%A9e" + (f"&csrfmiddlewaretoken={token[1]}" if token else "")
    answer = browser.post("/login", body, FORM)
    assert answer.status == 303
    assert answer["location"].endswith(browser.prefix + "/me")
    me = browser.get("/me")
    assert (me.status, me.text) == (200, "Ren\u00e9e")
    assert Browser(browser.site, browser.prefix).get("/me").status == 403
    assert browser.post("/logout", "", FORM).status == 303
    assert browser.get("/me").status == 403


def test_a_forged_form(browser):
    if browser.name == "django":
        assert browser.post("/login", "user=x", FORM).status == 403


@pytest.mark.parametrize("size", [0, 1000, 3 << 20])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload(browser, size, chunked):
    octets = bytes(i * 7 % 251 for i in range(1000)) * (size // 1000)
    body = (
        b'--limit\r\nContent-Disposition: form-data; name="title"\r\n\r\nA \xc3\xa9 title\r\n'
        b'--limit\r\nContent-Disposition: form-data; name="file"; filename="a b.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + octets + b"\r\n--limit--\r\n"
    )
    pieces = iter([body[:10], body[10:5000], body[5000:]]) if chunked else body
    answer = browser.post("/upload", pieces, "multipart/form-data; boundary=limit")
    if chunked and browser.name in NO_CHUNKS:
        assert answer.status == NO_CHUNKS[browser.name]
        return
    assert answer.status == 200, browser.site.log()
    digest = hashlib.sha256(octets).hexdigest()
    expected = {"title": "A \u00e9 title", "name": "a b.bin", "size": len(octets), "sha256": digest}
    assert json.loads(answer.body) == expected


def test_json(browser):
    answer = browser.post("/json", json.dumps({"a": [1, "\u20ac"]}), "application/json")
    assert answer.status == 200
    assert json.loads(answer.body) == {"a": [1, "\u20ac"], "seen": True}


def test_a_stream(browser):
    before = browser.site.notes().count("close lines")
    answer = browser.get("/stream?n=100")
    assert answer.body == b"".join(b"line %d\n" % i for i in range(100))
    browser.site.expect_note("close lines", before + 1)


def test_a_file(browser):
    with open(contract.FILE, "rb") as file:
        octets = file.read()
    answer = browser.get("/file")
    assert answer.status == 200
    assert answer.body == octets
    assert int(answer["content-length"]) == len(octets)
    modified = answer["last-modified"]
    if modified:
        assert browser.get("/file", {"If-Modified-Since": modified}).status == 304
    if answer["accept-ranges"] == "bytes":
        part = browser.get("/file", {"Range": "bytes=1000-1999"})
        assert (part.status, part.body) == (206, octets[1000:2000])
        assert part["content-range"] == f"bytes 1000-1999/{len(octets)}"


def test_error_pages(browser):
    missing = browser.get("/no/such/page")
    assert (missing.status, missing.text) == (404, "<h1>No such page</h1>")
    before = len(browser.site.tracebacks())
    failed = browser.get("/fail")
    assert (failed.status, failed.text) == (500, "<h1>Sorry</h1>")
    browser.site.expect_log("LookupError: failed on purpose")
    assert len(browser.site.tracebacks()) == before + 1
    assert browser.get("/").status == 200


def test_a_path(browser):
    assert browser.get("/path/caf%C3%A9/%E2%82%AC%20x").text == "caf\u00e9/\u20ac x"


def test_where_it_is(browser):
    address = browser.site.address
    host = "localhost" if isinstance(address, str) else "{}:{}".format(*address)
    assert browser.get("/where").text == f"http://{host}{browser.prefix}/"


def test_in_parallel(sites):
    """Many at once, also of those that are read slowly; all right, and none harms another."""
    from concurrent.futures import ThreadPoolExecutor

    site = sites("", "stack")

    def one(i):
        name = list(FRAMEWORKS)[i % len(FRAMEWORKS)]
        answer = site.get(f"/{name}/path/{i}" if i % 3 else f"/{name}/stream?n={i}")
        return answer.body == (b"%d" % i if i % 3 else b"".join(b"line %d\n" % j for j in range(i)))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(200)))


# ---- the middlewares of the stack ----


def test_the_stack(sites):
    site = sites("", "stack")
    browser = Browser(site)
    for name in FRAMEWORKS:
        answer = browser.get(f"/{name}/?name=x", {"Accept-Encoding": "gzip"})
        assert (answer.status, answer["content-encoding"]) == (200, "gzip")
        assert b"Hello, x!" in gzip.decompress(answer.body)
        # What nobody else asks for: the notes of earlier requests may still come.
        assert site.get(f"/{name}/path/987654").body == b"987654"
        site.expect_note(f"took /{name}/path/987654 some time")
    assert browser.get("/flask/")["x-visits"] == str(len(FRAMEWORKS) + 1)
    assert browser.get("/nothing/").status == 404
    answer = browser.get("/django/file", {"Accept-Encoding": "gzip"})
    with open(contract.FILE, "rb") as file:
        assert gzip.decompress(answer.body) == file.read()


def test_validate_is_silent_around_the_stack(serve):
    site = serve("apps.stack:checked", env={"PYTHONWARNINGS": "error::wsgiref.validate.WSGIWarning"})
    site.expected.append("LookupError: failed on purpose")
    for name in FRAMEWORKS:
        for path in ("/", "/stream?n=3", "/file", "/no/such/page", "/fail", "/where"):
            for method in ("GET", "HEAD"):
                answer = site.request(method, f"/{name}{path}", headers={"Accept-Encoding": "gzip"})
                assert answer.status in (200, 404, 405) or path == "/fail", site.log()
