"""serve.py SERVER APP PORT: the servers that are called, not configured; options behind."""

import sys

import hello

server, name, port, *options = sys.argv[1:]
port = int(port)
app = hello.flask() if name == "flask" else getattr(hello, name)

if server == "libgateway":
    import gateway

    bind = f"127.0.0.1:{port}"
    gateway.serve(app, bind=bind, loglevel="error", **dict(o.split("=") for o in options))
elif server == "bjoern":
    import bjoern

    bjoern.run(app, "127.0.0.1", port)
elif server == "fastpysgi":
    import fastpysgi

    fastpysgi.server.loglevel = 0
    fastpysgi.run(app, host="127.0.0.1", port=port)
elif server == "idle":
    import time

    time.sleep(3600)
