"""A program that serves in a thread of its own, as tests of applications do, and ends that from the main one."""

import sys
import threading
import urllib.request

import gateway

inside = threading.Event()
go_on = threading.Event()


def application(environ, start_response):
    if environ["PATH_INFO"] == "/waits":
        inside.set()
        go_on.wait(20)
    if environ["PATH_INFO"] == "/ends":
        server.shutdown()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]


def get(path):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}", timeout=20) as answer:
        return answer.read()


def again_and_again():
    """Nothing is lost, and nothing is used behind its end."""
    global server
    for i in range(30):
        server = gateway.make_server("127.0.0.1", 0, application, **({"threads": 2} if i % 2 else {}))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert get("/x") == b"/x"
        if i % 3:
            server.shutdown()
            assert server.turn() is None
        server.server_close()
        thread.join(20)
        assert not thread.is_alive()
        try:
            server.turn()
        except ValueError:
            pass
        else:
            raise AssertionError("a closed server turns")


def what_is_under_way_is_answered():
    global server
    server = gateway.make_server("127.0.0.1", 0, application)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    answers = []
    client = threading.Thread(target=lambda: answers.append(get("/waits")))
    client.start()
    assert inside.wait(20)
    threading.Timer(0.05, go_on.set).start()
    server.shutdown()
    client.join(20)
    assert answers == [b"/waits"]
    server.server_close()
    thread.join(20)


def a_request_ends_it(**options):
    global server
    server = gateway.make_server("127.0.0.1", 0, application, **options)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert get("/ends") == b"/ends"
    thread.join(20)
    assert not thread.is_alive()
    server.server_close()


def twice():
    global server
    server = gateway.make_server("127.0.0.1", 0, application)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert get("/x") == b"/x"
    try:
        server.serve_forever()
    except RuntimeError as error:
        assert "already" in str(error)
    else:
        raise AssertionError("it ran twice")
    server.shutdown()
    thread.join(20)
    server.serve_forever()  # has ended, and ends at once
    server.server_close()


if __name__ == "__main__":
    again_and_again()
    what_is_under_way_is_answered()
    a_request_ends_it()
    a_request_ends_it(threads=2)
    twice()
    print("all is well")
    sys.exit(0)
