"""Where settings come from: gunicorn.conf.py, GUNICORN_CMD_ARGS, the command line; the later wins."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from .. import __version__, _gateway
from ..hooks import ARGUMENTS, arity, suggestion
from .settings import SETTINGS, Setting, with_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


class ConfigError(Exception):
    """What is wrong with a setting, where it was set, and what to do."""


class Config:
    """Values by gunicorn's names, as attributes; `said` has where each was set that was."""

    def __init__(self) -> None:
        self.settings = with_options(_gateway.options())
        self.said: dict[str, str] = {}
        self.warnings: list[str] = []
        self.values = {name: setting.default for name, setting in self.settings.items()}
        port, workers = os.environ.get("PORT"), os.environ.get("WEB_CONCURRENCY")
        if port:
            self.values["bind"] = [f"0.0.0.0:{port}"]
        if workers:
            self.values["workers"] = convert(SETTINGS["workers"], workers, "WEB_CONCURRENCY")
        if os.environ.get("FORWARDED_ALLOW_IPS"):
            self.set("forwarded_allow_ips", os.environ["FORWARDED_ALLOW_IPS"], "FORWARDED_ALLOW_IPS")

    def __getattr__(self, name: str) -> Any:
        if name in ("user", "group") and self.__dict__["values"][name] is None:
            return os.geteuid() if name == "user" else os.getegid()
        try:
            return self.__dict__["values"][name]
        except KeyError:
            raise AttributeError(
                f"no setting {name!r}{suggestion(name, self.__dict__.get('values', ()))}"
            ) from None

    def set(self, name: str, value: Any, where: str = "set()") -> None:
        """One setting; ConfigError when the value is none for it."""
        name = name.lower()
        if name not in self.settings:
            raise ConfigError(f"{where}: there is no setting {name!r}{suggestion(name, self.settings)}")
        self.values[name] = convert(self.settings[name], value, where)
        self.said[name] = where

    @property
    def env(self) -> dict[str, str]:
        """raw_env, as a dictionary."""
        pairs = [each.partition("=") for each in self.raw_env]
        for name, equals, _ in pairs:
            if not name or not equals:
                raise ConfigError(f"{self.said.get('raw_env')}: {name!r} is not NAME=VALUE")
        return {name: value for name, _, value in pairs}

    @property
    def is_ssl(self) -> bool:
        return False

    @property
    def address(self) -> list[str]:
        return list(self.bind)

    def __str__(self) -> str:
        return "\n".join(f"{name:34} = {_shown(value)}" for name, value in sorted(self.values.items()))


def _shown(value: Any) -> str:
    return f"{value.__qualname__}()" if callable(value) and hasattr(value, "__qualname__") else str(value)


# ---- values ----


def convert(setting: Setting, value: Any, where: str) -> Any:
    """The value as the setting has it; ConfigError."""
    name, kind = setting.name, setting.kind

    def wrong(what: str) -> ConfigError:
        return ConfigError(f"{where}: {name} = {value!r}: it must be {what}")

    if value is None and kind not in ("int", "octal", "bool"):
        return list(setting.default) if kind == "list" else None
    if kind in ("int", "octal"):
        try:
            number = value if isinstance(value, int) else _number(str(value).strip(), kind == "octal")
        except ValueError:
            raise wrong("a whole number") from None
        if number < 0:
            raise wrong("0 or more")
        return number
    if kind in ("bool", "off"):
        if isinstance(value, bool):
            return value
        text = str(value).strip().lower()
        if text not in TRUE + FALSE:
            raise wrong("True or False")
        return text in TRUE
    if kind == "list":
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, (list, tuple)) or not all(
            isinstance(each, (str, os.PathLike)) for each in value
        ):
            raise wrong("a string, or a list of strings")
        return [part.strip() for each in value for part in str(each).split(",") if part.strip()]
    if kind == "addresses":
        if isinstance(value, str):
            return value
        if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
            raise wrong("a string with commas, or a list of strings")
        return ",".join(value)
    if kind == "dict":
        if not isinstance(value, dict):
            raise wrong("a dictionary")
        return value
    if kind == "hook":
        return _hook(setting, value, wrong)
    if kind == "text":
        if not isinstance(value, (str, os.PathLike)):
            raise wrong("a string")
        return str(value).strip()
    return value


def _number(text: str, octal: bool) -> int:
    """gunicorn's: 0777 and 0o777 are octal, 0x1ff is not, where that may be."""
    if octal and text[:1] == "0" and text.isdigit():
        return int(text, 8)
    return int(text, 0 if octal else 10)


def _hook(setting: Setting, value: Any, wrong: Any) -> Any:
    if isinstance(value, str):
        from .application import AppError, find

        try:
            value = find(
                value.replace(":", ".").rpartition(".")[0], value.replace(":", ".").rpartition(".")[2]
            )
        except AppError as error:
            raise wrong(f"a function, and {error}") from error
    if not callable(value):
        raise wrong("a function")
    wanted = ARGUMENTS.get(setting.name)
    takes = arity(value, wanted) if wanted else None
    if wanted and takes != wanted and not (setting.name == "post_request" and takes in (2, 3)):
        raise wrong(f"a function of {wanted} argument{'s' if wanted > 1 else ''}")
    return value


# ---- the command line ----


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """As argparse, with a suggestion, and the status of a configuration that is wrong."""
        _, _, unknown = message.partition("unrecognized arguments: ")
        if unknown.startswith("-"):
            flag = unknown.split()[0].partition("=")[0]
            known = [option for action in self._actions for option in action.option_strings]
            message += suggestion(flag, known)
        raise ConfigError(message + "; gateway --help has them all")


def narrow(prog: str) -> argparse.HelpFormatter:
    """Only looks at arguments: one that asks how wide the terminal is imports what uncompresses archives."""
    return argparse.HelpFormatter(prog, width=80)


def parser(settings: dict[str, Setting]) -> Parser:
    """The command line: gunicorn's."""
    help_of = {name: text for name, _kind, _preset, text in _gateway.options()}
    made = Parser(
        prog="gateway",
        usage="%(prog)s [OPTIONS] [APP_MODULE]",
        description="Serve a WSGI application: module:name, or module:factory().",
        epilog="Settings are gunicorn's; also in gunicorn.conf.py and GUNICORN_CMD_ARGS.",
        formatter_class=narrow,
    )
    made.add_argument("-v", "--version", action="version", version=f"gateway {__version__}")
    made.add_argument("args", nargs="*", metavar="APP_MODULE", help=argparse.SUPPRESS)
    for setting in settings.values():
        if not setting.flags:
            continue
        how: dict[str, Any] = {"dest": setting.name, "default": argparse.SUPPRESS}
        if setting.kind == "bool":
            how["action"] = "store_true"
        elif setting.kind == "off":
            how |= {"action": "store_const", "const": False}
        elif setting.kind == "list":
            how |= {"action": "append", "metavar": setting.metavar}
        elif setting.name == "proxy_protocol":
            how |= {"nargs": "?", "const": "auto", "metavar": "MODE"}
        else:
            how["metavar"] = setting.metavar
        text = (
            help_of.get(setting.what, "").partition(". ")[0].rstrip(".")
            if setting.how == "option"
            else setting.what
        )
        if setting.how in ("refused", "warned"):
            text = argparse.SUPPRESS
        default = f" [{setting.default}]" if setting.default not in (None, False, [], {}) else ""
        how["help"] = text if text is argparse.SUPPRESS else (text + default).replace("%", "%%")
        made.add_argument(*setting.flags, **how)
    made.formatter_class = argparse.HelpFormatter
    return made


def _flag(setting: Setting) -> str:
    return setting.flags[-1] if len(setting.flags) == 1 else setting.flags[1]


# ---- a file ----


def read_file(location: str) -> dict[str, Any]:
    """The names of a configuration file: PATH, file:PATH, or python:MODULE."""
    try:
        if location.startswith("python:"):
            return vars(importlib.import_module(location[len("python:") :]))
        path = location.removeprefix("file:")
        if not os.path.exists(path):
            raise ConfigError(f"{path} doesn't exist")
        from importlib import machinery, util

        loader = machinery.SourceFileLoader("__config__", os.path.abspath(path))
        spec = util.spec_from_loader("__config__", loader)
        assert spec is not None
        module = util.module_from_spec(spec)
        sys.modules["__config__"] = module
        was, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            loader.exec_module(module)
        finally:
            sys.dont_write_bytecode = was
        return vars(module)
    except (ConfigError, SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        import traceback

        raise ConfigError(f"{location} failed:\n{traceback.format_exc().rstrip()}") from error


def take_file(cfg: Config, location: str) -> None:
    """What a file says. Names that are no settings are its own, but for what looks like a slip."""
    where = location.removeprefix("file:")
    for name, value in read_file(location).items():
        if name in cfg.settings:
            cfg.set(name, value, where)
        elif isinstance(value, (str, int, float, list, dict)) and not name.startswith("_"):
            import difflib

            close = difflib.get_close_matches(name, cfg.settings, 1, 0.85)
            if close and name not in (close[0].rstrip("s"), close[0] + "s"):
                cfg.warnings.append(f"{where}: {name} is no setting: did you mean {close[0]}?")


# ---- all of it ----


def load(argv: list[str]) -> Config:
    """The configuration of a command line; `wsgi_app` names the application. ConfigError."""
    cfg = Config()
    line = parser(cfg.settings)
    said = vars(line.parse_args(argv))
    env_args: list[str] = []
    try:
        if os.environ.get("GUNICORN_CMD_ARGS"):
            import shlex

            env_args = shlex.split(os.environ["GUNICORN_CMD_ARGS"])
        from_env = vars(line.parse_args(env_args))
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"GUNICORN_CMD_ARGS: {error}") from error
    there = said.pop("chdir", from_env.pop("chdir", None))
    enter(there or os.getcwd())
    default = "./gunicorn.conf.py"
    location = said.get("config") or from_env.get("config") or (default if os.path.exists(default) else None)
    if location:
        take_file(cfg, location)
        cfg.values["config"] = location
    for values, from_where in ((from_env, "GUNICORN_CMD_ARGS"), (said, "")):
        args = values.pop("args")
        if args and from_where == "":
            if len(args) > 1:
                raise ConfigError(f"one application, please, not {len(args)}: {' '.join(args)}")
            cfg.set("wsgi_app", args[0], "command line")
        for name, value in values.items():
            cfg.set(name, value, from_where or _flag(cfg.settings[name]))
    if cfg.chdir and there is None:
        enter(cfg.chdir)  # the file says so
    cfg.values["chdir"] = os.getcwd()
    if cfg.pythonpath:
        for path in reversed(cfg.pythonpath.split(",")):
            path = os.path.abspath(os.path.expanduser(path))
            if path not in sys.path:
                sys.path.insert(0, path)
    return cfg


def enter(directory: str) -> None:
    """Be there, and import from there."""
    directory = os.path.abspath(os.path.expanduser(directory))
    try:
        os.chdir(directory)
    except OSError as error:
        raise ConfigError(f"chdir: {error}") from error
    if directory not in sys.path:
        sys.path.insert(0, directory)
