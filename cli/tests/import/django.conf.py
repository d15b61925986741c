"""gunicorn for the bookshop, behind nginx on the same machine."""
import multiprocessing
import os

from prometheus_client import multiprocess

BASE = "/srv/bookshop"

wsgi_app = "bookshop.wsgi:application"
chdir = BASE
bind = f"unix:{BASE}/run/gunicorn.sock"
umask = 0o007
user = group = "bookshop"

# One and a bit for each core.
workers = int(os.environ.get("WEB_CONCURRENCY", multiprocessing.cpu_count() * 2 + 1))
worker_class = "gthread"
threads = 4
worker_tmp_dir = "/dev/shm"
preload_app = True

timeout = 60
graceful_timeout = 20
keepalive = 5
max_requests = 1_000
max_requests_jitter = 100

limit_request_line = 0
limit_request_field_size = 16 * 1024

forwarded_allow_ips = ["127.0.0.1", "10.1.0.0/16"]
secure_scheme_headers = {
    "X-FORWARDED-PROTO": "https",
}

raw_env = [
    "DJANGO_SETTINGS_MODULE=bookshop.settings",
    "GREETING=Hello, \"world\"",
]

accesslog = "-"
errorlog = "-"
loglevel = "WARNING"
access_log_format = (
    '%(h)s "%(r)s" %(s)s '
    '%(b)s %(D)s'
)
capture_output = True
daemon = False
pidfile = BASE + "/run/gunicorn.pid"
proc_name = "bookshop"
statsd_host = "localhost:8125"

if os.environ.get("DJANGO_DEBUG"):
    reload = True
    workers = 1


def post_fork(server, worker):
    server.log.info("worker %s", worker.pid)


def child_exit(server, worker):
    multiprocess.mark_process_dead(worker.pid)
