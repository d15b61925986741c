"""manage.py rungateway."""

import re
import sys
from datetime import datetime

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.core.servers.basehttp import get_internal_wsgi_application
from django.utils import autoreload

import gateway

ADDRESS = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:.]+\]|[^\[\]:/]*):)?(?P<port>\d{1,5})")


class Command(BaseCommand):
    """`runserver` on libgateway."""

    help = "Serves this project on libgateway: in development, or with --workers as in production."
    requires_system_checks = ()

    def add_arguments(self, parser):
        parser.add_argument(
            "address", nargs="?", default="8000", help="[host:]port, or unix:/path (127.0.0.1:8000)"
        )
        parser.add_argument(
            "-w", "--workers", type=int, help="so many processes, and no reload; 0: one for each CPU"
        )
        parser.add_argument("--threads", type=int, help="threads of each process that run views")
        parser.add_argument("--noreload", action="store_true", help="do not reload when the code has changed")
        parser.add_argument(
            "--nostatic", action="store_true", help="do not serve static files where DEBUG is set"
        )
        parser.add_argument("--skip-checks", action="store_true", help="skip system checks")
        parser.add_argument(
            "-o",
            "--option",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="an option of libgateway: -o keepalive=10s",
        )

    def handle(self, *args, **options):
        if not settings.DEBUG and not settings.ALLOWED_HOSTS:
            raise CommandError("You must set settings.ALLOWED_HOSTS if DEBUG is False.")
        wanted = {}
        for each in options["option"]:
            name, equals, value = each.partition("=")
            if not equals:
                raise CommandError(f"-o {each}: an option is NAME=VALUE")
            wanted[name] = value
        if options["threads"] is not None:
            wanted["threads"] = options["threads"]
        wanted["bind"] = self.bind(options["address"])
        if options["workers"] is not None or options["noreload"]:
            self.begin(options)
            workers = 1 if options["workers"] is None else options["workers"]
            self.call(gateway.serve, self.application(options), workers=workers, **wanted)
        else:
            autoreload.run_with_reloader(self.in_thread, options, wanted)

    def in_thread(self, options, wanted):
        """Where the reloader has the main thread; it ends the process, and starts another."""
        autoreload.raise_last_exception()
        self.begin(options)
        self.call(gateway.server, self.application(options), **wanted).serve_forever()

    def begin(self, options):
        if not options["skip_checks"]:
            self.stdout.write("Performing system checks...\n\n")
            self.check(display_num_errors=True)
        if settings.DATABASES:
            self.check_migrations()
        now = datetime.now().strftime("%B %d, %Y - %X")
        self.stdout.write(
            f"{now}\nDjango version {self.get_version()}, using settings {settings.SETTINGS_MODULE!r}\n"
            f"libgateway {gateway.__version__} at {self.bind(options['address'])}\n"
            "Quit the server with CONTROL-C.\n"
        )
        self.stdout.flush()

    @staticmethod
    def application(options):
        app = get_internal_wsgi_application()
        if (
            settings.DEBUG
            and not options["nostatic"]
            and "django.contrib.staticfiles" in settings.INSTALLED_APPS
        ):
            from django.contrib.staticfiles.handlers import StaticFilesHandler

            app = StaticFilesHandler(app)
        return app

    @staticmethod
    def bind(address):
        found = ADDRESS.fullmatch(address)
        if found is not None:
            return f"{found['host'] or '127.0.0.1'}:{found['port']}"
        if "://" in address or address.startswith("unix:"):
            return address
        raise CommandError(f"{address!r} is not [host:]port, nor unix:/path")

    @staticmethod
    def call(function, *args, **options):
        try:
            return function(*args, **options)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            print(f"Error: {error}", file=sys.stderr)
            sys.exit(1)
