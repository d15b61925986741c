"""Kinds of workers, for test_workers.py."""

import os
import select

import harness

from gateway.workers import Refused, Worker


class Polling(Worker):
    """select(), as the smallest of all loops."""

    name = "polling"

    def setup(self):
        harness.note("setup")

    def start(self):
        harness.note("start")

    def run(self, server):
        while (wait := server.turn()) is not None:
            select.select([server], [], [], None if wait < 0 else wait)
        harness.note("stopped")


class Late(Polling):
    """Answers when the turn is over."""

    def __init__(self):
        from gateway._gateway import Deferred

        self.waiting = []
        self.deferred = Deferred(self.waiting.append)

    def application(self, app):
        self.app = app
        return self.deferred

    def run(self, server):
        while (wait := server.turn()) is not None:
            for request in self.waiting:
                request.wsgi(self.app, None)
            wait = 0 if self.waiting else wait
            self.waiting.clear()
            select.select([server], [], [], None if wait < 0 else wait)
        harness.note("stopped")


class FailsToStart(Polling):
    def start(self):
        raise RuntimeError("no start")


class Refuses(Polling):
    def start(self):
        raise Refused("this machine is too small")


class NoApplication(Polling):
    def application(self, app):
        raise TypeError("not this application")


class FailsOnce(Polling):
    def run(self, server):
        mark = os.environ["GATEWAY_TEST_NOTES"] + ".failed"
        if not os.path.exists(mark):
            open(mark, "w").close()
            server.turn()
            raise RuntimeError("the loop has failed")
        super().run(server)


class Closes(Polling):
    def run(self, server):
        try:
            server.server_close()
        except ValueError as error:
            harness.note(str(error))
        super().run(server)
