"""serve.py SERVER APP ADDRESS [OPTION=VALUE ...]: the servers that are called, not configured."""

import sys

import hello

server, name, address, *options = sys.argv[1:]
app = hello.flask() if name == "flask" else getattr(hello, name)
host, _, port = address.rpartition(":")

if server == "libgateway":
    import gateway

    gateway.serve(app, bind=address, loglevel="error", **dict(o.split("=") for o in options))
elif server == "bjoern":
    import bjoern

    bjoern.run(app, host, int(port))
elif server == "fastpysgi":
    import fastpysgi

    fastpysgi.server.loglevel = 0
    fastpysgi.run(app, host=host, port=int(port))
