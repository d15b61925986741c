"""gateway.lua with real sockets; python3 bindings/lua/tests/test_lua.py, with LUAJIT, CC and GATEWAY_LIBRARY_DIR."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from demo import PATIENCE, Client, Server, ask

LUAJIT = os.environ.get("LUAJIT", "luajit")


def until(what, is_so):
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


class App:
    """tests/app.lua with options, for the length of a `with`."""

    def __init__(self, *options, directory=None, app="app.lua"):
        self.directory = tempfile.TemporaryDirectory()
        self.clients = []
        command = [LUAJIT, str(HERE / app), "bind={address}", "workers=1", *options]
        command = ["env", f"LUA_PATH={directory or self.directory.name}/?.lua;;", *command]
        self.server = Server("app", command, Path(self.directory.name) / "file")

    def __enter__(self):
        command = self.server.command
        with self.server.log.open("wb") as log:
            self.server.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=log, start_new_session=True
            )
        until("it listens", self.listens)
        return self

    def listens(self):
        assert self.server.process.poll() is None, self.log()
        try:
            self.client().socket.close()
        except OSError:
            return False
        return True

    def __exit__(self, *_):
        for client in self.clients:
            client.socket.close()
        self.server.end()
        self.directory.cleanup()

    def client(self):
        self.clients.append(Client(self.server.address))
        return self.clients[-1]

    def log(self):
        return self.server.log.read_text()

    def answer(self, target, *headers, method="GET", body=b""):
        client = self.client()
        client.send(ask(f"{method} {target} HTTP/1.1", "Connection: close", *headers, body=body))
        status, octets = client.answer(method != "HEAD")
        client.socket.close()
        return status, octets

    def get(self, target, *headers, **also):
        status, octets = self.answer(target, *headers, **also)
        assert status == 200, (octets, self.log())
        return octets.split(b"\r\n\r\n", 1)[1].removesuffix(b"<end>\r\n").decode()

    def post(self, target, body):
        return self.get(target, f"Content-Length: {len(body)}", method="POST", body=body)


class Layout(unittest.TestCase):
    def test_structs_and_numbers_are_those_of_the_header(self):
        with tempfile.TemporaryDirectory() as directory:
            source, program = (f"{directory}/layout{end}" for end in (".c", ""))
            text = subprocess.run(
                [LUAJIT, str(HERE / "layout.lua")], capture_output=True, text=True, check=True
            ).stdout
            Path(source).write_text(text)
            subprocess.run(
                [os.environ.get("CC", "cc"), f"-I{ROOT}/include", "-w", "-o", program, source], check=True
            )
            ended = subprocess.run([program], capture_output=True, text=True, check=False)
            self.assertEqual(ended.returncode, 0, ended.stdout)


class Interpreter(unittest.TestCase):
    def test_one_without_ffi_is_told_what_is_missing(self):
        program = 'package.preload.ffi = nil; package.loaded.ffi = nil; require "gateway"'
        ended = subprocess.run(
            ["env", f"LUA_PATH={HERE.parent}/?.lua", LUAJIT, "-e", program],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        self.assertEqual(ended.returncode, 1, ended.stderr)
        self.assertIn("gateway.lua needs LuaJIT and its FFI, and this is LuaJIT", ended.stderr)


class Readme(unittest.TestCase):
    def test_its_program_is_the_example(self):
        program = (HERE.parent / "README.md").read_text().split("```lua\n")[1].split("```")[0]
        example = (HERE.parent / "examples/hello.lua").read_text()
        self.assertEqual(program, example[example.index("local gateway") :])
        self.assertLessEqual(program.count("\n"), 30)

    def test_it_works(self):
        command = [LUAJIT, str(HERE.parent / "examples/hello.lua"), "{address}"]
        with (
            tempfile.TemporaryDirectory() as directory,
            Server("hello", command, Path(directory) / "file") as server,
        ):
            client = Client(server.address)
            client.send(ask("GET / HTTP/1.1"))
            self.assertTrue(client.answer(True)[1].endswith(b"hello, 127.0.0.1\n"))
            client.send(ask("GET /clock HTTP/1.1", "Connection: close"))
            client.until(lambda: b"1\n" in client.buffer)
            client.socket.close()
        self.assertFalse(server.failed)


class Requests(unittest.TestCase):
    """One worker, which stays the same."""

    @classmethod
    def setUpClass(cls):
        cls.app = App("loglevel=debug").__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.app.__exit__()
        assert not cls.app.server.failed

    def test_environ(self):
        status, octets = self.app.answer("/env", "X-One: 1")
        self.assertEqual(status, 200)
        self.assertIn(b"\r\nX-Kept: kept\r\n", octets)
        self.assertTrue(octets.endswith(b"\r\n\r\n1||nil|nil|GET"), octets)

    def test_errors_are_a_500_with_a_traceback(self):
        pid = self.app.get("/pid")
        for target, said in [
            ("/error", "thrown on purpose"),
            ("/error%20table", "table: "),
            ("/error%20without%20text", "cannot be made text"),
            ("/error%20whose%20text%20fails", "cannot be made text"),
            ("/large%20status", "65736 is not a status"),
            ("/large%20status,%20streamed", "65736 is not a status"),
            ("/no%20status", "no status"),
            ("/bad%20header", "line break"),
            ("/bad%20header,%20streamed", "line break"),
            ("/yields", "nobody is there"),
            ("/no%20file", "/nonexistent/file: No such file"),
            ("/missing", "attempt to call"),
            ("/refused%20header", '"X Space": the name is not a token'),
            ("/bad%20status", "7 is not a status"),
            ("/interim%20status", "103 is not a status"),
            ("/file%20with%20NUL", "a NUL is in it"),
            ("/no%20seconds", "nan seconds"),
        ]:
            with self.subTest(target):
                status, octets = self.app.answer(target)
                self.assertEqual(status, 500, octets)
                self.assertNotIn(b"Injected", octets)
                self.assertIn(said, self.app.log())
        self.assertIn("in function 'deeper'", self.app.log())
        self.assertEqual(self.app.get("/pid"), pid)

    def test_a_stream_that_fails_is_cut(self):
        client = self.app.client()
        client.send(ask("GET /cut HTTP/1.1"))
        _, octets = client.answer(True)
        self.assertIn(b"first", octets)
        self.assertTrue(octets.endswith(b"<no chunk: >"), octets)
        self.assertIn("in the stream", self.app.log())

    def test_its_log(self):
        self.app.get("/log")
        self.assertIn("a line of the application\n", self.app.log())

    def test_bodies_of_requests(self):
        self.assertEqual(self.app.post("/read", b"0123456789abcde"), "<0123456789><abcde>")
        self.assertEqual(self.app.post("/read", b""), "")
        self.assertEqual(self.app.post("/all", b"x" * 300_000), "xxx,299997")
        self.assertEqual(self.app.post("/half", b"12"), ",12")

    def test_a_file(self):
        self.assertEqual(self.app.get("/file"), (HERE / "app.lua").read_text())

    def test_files_are_closed(self):
        for target in ["/file", "/files?lost", "/files?bad", "/file"]:
            self.app.answer(target)
        until("they are closed", lambda: self.app.get("/files") == "0")
        client = self.app.client()
        client.send(ask("GET /hold?file HTTP/1.1"))
        until("one is open", lambda: self.app.get("/files") == "1")
        self.assertEqual(self.app.get("/open?file"), "waits")
        self.assertEqual(client.answer(True)[0], 200)

    def test_a_request_that_waits_lets_others_be_served(self):
        clients = [self.app.client() for _ in range(20)]
        for client in clients:
            client.send(ask("GET /wait?name HTTP/1.1"))
        until("one waits", lambda: self.app.get("/open?name") == "waits")
        for client in clients:
            self.assertEqual(client.answer(True)[0], 200)

    def test_a_slow_client_holds_nobody_up_and_a_body_is_closed_when_it_leaves(self):
        before = int(self.app.get("/closed"))
        slow = [self.app.client() for _ in range(3)]
        for client in slow:
            client.send(ask("GET /endless HTTP/1.1"))
            client.until(lambda client=client: len(client.buffer) > 100_000)
        self.assertEqual(int(self.app.get("/closed")), before)
        for client in slow:
            client.socket.close()
        until("all are closed", lambda: int(self.app.get("/closed")) == before + 3)
        self.assertEqual(self.app.answer("/endless", method="HEAD")[0], 200)
        until("that, too", lambda: int(self.app.get("/closed")) == before + 4)
        self.app.answer("/foreign")
        until("one that yields to nobody", lambda: int(self.app.get("/closed")) == before + 5)

    def test_memory_stays(self):
        client = self.app.client()

        def ask_often(times):
            for _ in range(times):
                client.send(ask("GET /env HTTP/1.1", "X-One: 1") * 100)
                for _ in range(100):
                    self.assertEqual(client.answer(True)[0], 200)

        ask_often(5)
        before = int(self.app.get("/memory"))
        ask_often(50)
        self.assertLess(int(self.app.get("/memory")), before + 200)  # KiB


class Serving(unittest.TestCase):
    def test_a_streamed_body_is_read_while_it_comes(self):
        with App("request_buffering=0") as app:
            client = app.client()
            client.send(ask("POST /through HTTP/1.1", "Connection: close", "Transfer-Encoding: chunked"))
            client.send(b"5\r\nfirst\r\n")
            client.until(lambda: b"first" in client.buffer)  # it answers
            self.assertTrue(app.get("/pid"))  # and the worker serves
            client.send(b"6\r\nsecond\r\n0\r\n\r\n")
            self.assertTrue(client.answer(True)[1].endswith(b"firstsecond<end>\r\n"))
        self.assertFalse(app.server.failed)

    def test_without_an_arbiter(self):
        with App("worker_model=inline") as app:
            self.assertEqual(int(app.get("/pid")), app.server.process.pid)
        self.assertFalse(app.server.failed)

    def test_workers_are_several_and_replaced(self):
        with App("workers=3") as app:
            pids = set()
            until("three have answered", lambda: pids.add(app.get("/pid")) or len(pids) == 3)
            os.kill(int(next(iter(pids))), signal.SIGKILL)
            until("a fourth has answered", lambda: pids.add(app.get("/pid")) or len(pids) == 4)
        self.assertFalse(app.server.failed)

    def test_term_lets_requests_end(self):
        with App() as app:
            client = app.client()
            client.send(ask("GET /wait?term HTTP/1.1"))
            until("it waits", lambda: app.get("/waits?term") == "waits")
            other = app.client()
            other.send(ask("GET /pid HTTP/1.1"))
            other.answer(True)  # the connection is the worker's, and kept
            app.server.process.send_signal(signal.SIGTERM)
            until("it is told", lambda: "Handling signal: term" in app.log())
            other.send(ask("GET /open?term HTTP/1.1"))
            self.assertEqual(other.answer(True)[0], 200)
            self.assertTrue(client.answer(True)[1].endswith(b"opened\n"))
            self.assertEqual(app.server.process.wait(PATIENCE), 0)

    def test_a_body_that_is_cut_at_the_end_is_closed(self):
        with App() as app:
            client = app.client()
            client.send(ask("GET /sleeps HTTP/1.1"))
            client.until(lambda: b"begun" in client.buffer)
            app.server.process.send_signal(signal.SIGINT)
            app.server.process.wait(PATIENCE)
            self.assertEqual(app.log().count("a body is closed\n"), 1, app.log())

    def test_an_option_that_is_a_list(self):
        with App("bind=127.0.0.1:0") as app:
            self.assertEqual(app.log().count("Listening at"), 2, app.log())

    def test_a_reload_has_new_code_and_loses_no_request(self):
        for model in ["fork", "exec"]:
            with self.subTest(model), tempfile.TemporaryDirectory() as directory:
                module = Path(directory) / "changing.lua"

                def write(text, module=module):
                    fresh = module.with_suffix(".new")
                    fresh.write_text(text)
                    fresh.rename(module)

                def version(number):
                    return f"return function(env) return 200, {{}}, 'version {number}' end"

                write(version(1))
                with App("app=changing", "workers=2", f"worker_model={model}", directory=directory) as app:
                    self.assertEqual(app.get("/"), "version 1")
                    stop, answers = threading.Event(), []

                    def load(app=app, stop=stop, answers=answers):
                        while not stop.is_set():
                            answers.append(app.answer("/")[0])

                    threads = [threading.Thread(target=load) for _ in range(3)]
                    for thread in threads:
                        thread.start()
                    write(version(2))
                    app.server.process.send_signal(signal.SIGHUP)
                    until("the old workers are gone", lambda: app.log().count("Worker exiting") == 2)
                    write("this is no Lua")  # the old workers serve on
                    app.server.process.send_signal(signal.SIGHUP)
                    until("it is said", lambda: "changing.lua:1:" in app.log())
                    self.assertEqual(app.get("/"), "version 2")
                    stop.set()
                    for thread in threads:
                        thread.join()
                    self.assertEqual(set(answers), {200})
                self.assertFalse(app.server.failed)

    def test_what_is_wrong_is_said(self):
        for options, status, said in [
            (["workers=many"], 1, "workers"),
            (["nonsense=1"], 1, "nonsense"),
            (["bind=nowhere"], 1, "nowhere"),
            (
                ["app=no_such_module", "bind=127.0.0.1:0", "boot_timeout=20s"],
                3,
                "module 'no_such_module' not found",
            ),
            (
                ["app=math", "bind=127.0.0.1:0", "boot_timeout=20s"],
                3,
                'module "math" returns no application',
            ),
        ]:
            with self.subTest(options):
                ended = subprocess.run(
                    [LUAJIT, str(HERE / "app.lua"), "workers=1", *options],
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=PATIENCE,
                )
                self.assertEqual(ended.returncode, status, ended.stderr)
                self.assertIn(said, ended.stderr)
        program = 'print(select(2, require("gateway").serve { bind = "127.0.0.1:0" }))'
        ended = subprocess.run(
            ["env", f"LUA_PATH={HERE.parent}/?.lua;;", LUAJIT, "-e", program],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        self.assertEqual(ended.stdout, "app: neither an application nor the name of a module\t1\n", ended.stderr)


if __name__ == "__main__":
    unittest.main()
