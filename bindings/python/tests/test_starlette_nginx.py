"""A Starlette application behind nginx, by each protocol that it speaks to applications."""

import http.client
import json
import os
import socket
import sys

import harness
import nginx
import pytest
from test_starlette import multipart

SERVE = """
import sys, gateway
from apps.stars import app
names = {"http": "unix:", "uwsgi": "uwsgi+unix:", "fastcgi": "fastcgi+unix:", "scgi": "scgi+unix:"}
binds = [f"{prefix}{sys.argv[1]}/{name}.sock" for name, prefix in names.items()]
gateway.serve(app, worker="asyncio", workers=1, bind=binds)
"""

CONF = """
daemon off; worker_processes 1; pid {0}/nginx.pid; error_log stderr;
events {{ }}
http {{
    access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi;
    uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi; client_max_body_size 10m;
    server {{ listen unix:{0}/by-http.sock; location / {{
        proxy_pass http://unix:{0}/http.sock; proxy_http_version 1.1; proxy_set_header Host $http_host;
        proxy_set_header Connection ""; proxy_request_buffering off; proxy_buffering off; }} }}
    server {{ listen unix:{0}/by-uwsgi.sock; location / {{
        {uwsgi} uwsgi_pass unix:{0}/uwsgi.sock; uwsgi_buffering off; }} }}
    server {{ listen unix:{0}/by-fastcgi.sock; location / {{
        {fastcgi} fastcgi_pass unix:{0}/fastcgi.sock; fastcgi_buffering off; }} }}
    server {{ listen unix:{0}/by-scgi.sock; location / {{
        {scgi} scgi_pass unix:{0}/scgi.sock; scgi_buffering off; }} }}
}}
"""

# As the lists that nginx comes with.
PARAMS = """
QUERY_STRING $query_string; REQUEST_METHOD $request_method; CONTENT_TYPE $content_type;
REQUEST_URI $request_uri; SCRIPT_NAME ""; PATH_INFO $document_uri;
DOCUMENT_ROOT $document_root; SERVER_PROTOCOL $server_protocol; REQUEST_SCHEME $scheme;
REMOTE_ADDR $remote_addr; REMOTE_PORT $remote_port; SERVER_PORT $server_port; SERVER_NAME $server_name;
"""
# nginx sends the length by SCGI itself.
MORE = {"scgi": "SCGI 1", "uwsgi": "CONTENT_LENGTH $content_length", "fastcgi": "CONTENT_LENGTH $content_length"}


def params(protocol):
    """Each with the directive of this protocol."""
    every = (PARAMS + MORE[protocol]).split(";")
    return "".join(f"{protocol}_param {param.strip()};\n" for param in every)


class Behind(harness.Client):
    """A client of nginx's, on a unix socket."""

    def request(self, method, path, body=None, headers=()):
        connection = http.client.HTTPConnection("example.org", timeout=harness.DEADLINE)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(harness.DEADLINE)
        connection.sock.connect(self.address)
        try:
            connection.request(method, path, body=body, headers=dict(headers))
            got = connection.getresponse()
            return harness.Answer(got.status, got.reason, got.getheaders(), got.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    directory = tmp_path_factory.mktemp("nginx")
    lists = {protocol: params(protocol) for protocol in MORE}
    (directory / "nginx.conf").write_text(
        ("user root;" if os.geteuid() == 0 else "") + CONF.format(directory, **lists)
    )
    app = harness.Process([sys.executable, "-c", SERVE, str(directory)])
    front = harness.Process(
        [nginx.program(), "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
    )
    try:
        for name in ("http", "by-scgi"):
            harness.wait_for(name, (directory / f"{name}.sock").exists)
        yield lambda name: (Behind(str(directory / f"by-{name}.sock")), app)
        front.stop()
        app.stop()
    finally:
        front.discard()
        app.discard()


BY = pytest.mark.parametrize("by", ["http", "uwsgi", "fastcgi", "scgi"])


@BY
def test_requests(behind, by):
    site, _ = behind(by)
    assert site.get("/").text == "1 open"
    answer = site.post("/form", "name=Ada&colour=red", {"Content-Type": "application/x-www-form-urlencoded"})
    assert json.loads(answer.body) == {"name": "Ada", "colours": ["red"]}
    assert site.get("/url?a=%20b").text.startswith("http://example.org/url?a=%20b http://example.org/file ")
    assert site.get("/nowhere").status == 404
    assert site.get("/stream?n=300").text.endswith("line 299\n")


@BY
def test_files_and_uploads(behind, by):
    site, _ = behind(by)
    source = (harness.HERE / "apps" / "stars.py").read_bytes()
    assert site.get("/static/stars.py").body == source
    assert site.get("/file", {"Range": "bytes=10-29"}).body == source[10:30]
    body, headers = multipart([(b"note", b"n")], b"f.bin", b"z" * 2_000_000)
    assert json.loads(site.post("/upload", body, headers).body)["size"] == 2_000_000


@BY
def test_a_client_of_nginxs_that_leaves(behind, by):
    site, app = behind(by)
    before = app.notes().count("stream closed")
    with site.connect() as wire:
        wire.send(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n")
        wire.exactly(200_000)
    harness.wait_for("the end of the stream", lambda: app.notes().count("stream closed") > before)
