"""An application by its name: module:name, module:factory(arguments)."""

from __future__ import annotations

import importlib
import os
import sys
from keyword import iskeyword

from ..hooks import suggestion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class AppError(Exception):
    """What is wrong with the name of an application, or with what it names; no traceback says more."""


def find(module: str, name: str) -> Any:
    """The object `name`, also with dots, of a module. AppError, or what the module raises."""
    if module in ("", ".") or module.startswith("."):
        raise AppError(f"{module!r} is not the name of a module")
    before = set(sys.modules)
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise
        raise AppError(_no_module(module, name)) from error
    except BaseException:
        # Whoever tries again gets all of it again.
        for each in set(sys.modules) - before:
            if each == module or each.startswith(module + "."):
                sys.modules.pop(each, None)
        raise
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            among = [each for each in dir(found) if not each.startswith("__")]
            hint = suggestion(part, among)
            if not hint and found is sys.modules.get(module):
                likely = [each for each in ("app", "application", "create_app", "make_app") if each in among]
                hint = f": did you mean '{module}:{likely[0]}'?" if likely else ""
            raise AppError(f"module {module!r} has no attribute {name!r}{hint}") from None
    return found


def _no_module(module: str, name: str) -> str:
    if module.endswith(".py") or os.sep in module:
        path = module.removesuffix(".py")
        if os.path.exists(path + ".py"):
            meant = path.strip("./").replace("/", ".")
            return f"{module!r} is a file, not a module: did you mean '{meant}:{name}'?"
    try:
        here = [
            each.removesuffix(".py") for each in os.listdir() if each.endswith(".py") or os.path.isdir(each)
        ]
    except OSError:
        here = []
    return f"there is no module {module!r} in {os.getcwd()}, nor where Python looks{suggestion(module, here)}"


def parsed(expression: str) -> tuple[str, tuple[list, dict[str, Any]] | None]:
    """A name, perhaps with dots, and what it is to be called with; None: not at all. SyntaxError, ValueError."""
    if all(part.isidentifier() and not iskeyword(part) for part in expression.split(".")):
        return expression, None

    import ast

    tree = ast.parse(expression, mode="eval").body
    call = tree if isinstance(tree, ast.Call) else None
    target = call.func if call else tree
    if not all(isinstance(each, (ast.Name, ast.Attribute, ast.Load)) for each in ast.walk(target)):
        raise SyntaxError
    args = [ast.literal_eval(each) for each in call.args] if call else []
    names = {each.arg or "**": ast.literal_eval(each.value) for each in call.keywords} if call else {}
    if "**" in names:
        raise SyntaxError
    return ast.unparse(target), (args, names) if call else None


def import_app(uri: str) -> Callable:
    """The application. AppError, or what its module or factory raises."""
    module, _, expression = uri.partition(":")
    expression = expression or "application"
    try:
        name, arguments = parsed(expression.strip())
    except SyntaxError:
        raise AppError(
            f"{expression!r} is neither a name nor a call: it is module:app, or module:make_app()"
        ) from None
    except ValueError:
        raise AppError(
            f"the arguments of {expression!r} must be literals: numbers, strings, lists ..."
        ) from None
    app = find(module, name)
    if arguments is not None:
        if not callable(app):
            raise AppError(f"{module}:{name} is {_kind(app)}, which cannot be called")
        args, names = arguments
        try:
            app = app(*args, **names)
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                raise AppError(f"{uri}: {error}") from error
            raise
    if app is None:
        raise AppError(f"{uri} is None, not a WSGI application")
    if not callable(app):
        raise AppError(f"{uri} is {_kind(app)}, not a WSGI application: it must be callable")
    return app


def _kind(value: Any) -> str:
    name = type(value).__qualname__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def explain(uri: str, error: BaseException) -> str:
    """A text for the log: the traceback, from the application on, and what could not be loaded."""
    if isinstance(error, AppError):
        return f"Cannot load {uri!r}: {error}"
    trace = error.__traceback__
    own = os.path.dirname(os.path.abspath(__file__))
    while trace is not None and (
        trace.tb_frame.f_code.co_filename.startswith((own, "<frozen importlib"))
        or trace.tb_frame.f_code.co_filename == importlib.__file__
    ):
        trace = trace.tb_next
    import traceback

    lines = traceback.format_exception(type(error), error, trace)
    return "".join(lines) + f"Cannot load {uri!r}: {type(error).__name__}: {error}"


def failing(text: str) -> Callable:
    """An application that shows why the real one could not be loaded: for development."""

    def application(environ, start_response):
        start_response("500 Internal Server Error", [("Content-Type", "text/plain; charset=utf-8")])
        return [text.encode("utf-8", "replace")]

    return application
