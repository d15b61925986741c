"""The harness notices what it has to notice."""

import harness
import pytest


@pytest.mark.parametrize("kind", ["serve", "make_server", "wsgiref", "gunicorn"])
def test_a_site_answers_and_ends(serve, kind):
    site = serve("apps.small:noted", kind)
    answer = site.get("/x")
    assert (answer.status, answer.reason, answer.body) == (200, "OK", b"hello")
    assert answer["content-type"] == "text/plain"
    with site.connect() as wire:
        wire.send(b"GET /y HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.answer().body == b"hello"
    site.expect_note("called /x")
    site.expect_note("called /y")
    assert site.stop() == 0


def test_a_traceback_that_nobody_expects_is_noticed():
    with harness.Site("apps.small:broken") as site:
        assert site.get("/").status == 500
        harness.wait_for("a traceback", lambda: "broken on purpose" in site.log())
        with pytest.raises(AssertionError, match="broken on purpose"):
            site.stop()


def test_one_that_is_expected_is_not(serve):
    site = serve("apps.small:broken")
    assert site.get("/").status == 500
    site.expect_log("LookupError: broken on purpose")


def test_one_request_at_a_time():
    """wsgiref's handle_request: as many calls as requests, and no more is done in one."""
    import threading

    import gateway

    def app(environ, start_response):
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    with gateway.make_server("127.0.0.1", 0, app) as server:
        client, found = harness.Client(tuple(server.server_address)), []
        for path in ("/1", "/2"):
            asks = threading.Thread(target=lambda path=path: found.append(client.get(path).text))
            asks.start()
            server.handle_request()
            asks.join()
    assert found == ["/1", "/2"]
