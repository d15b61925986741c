"""gunicorn's settings and ours: none is forgotten, and the README has them as they are."""

import argparse
import shlex
from pathlib import Path

import gunicorn.config
import pytest
from harness import PACKAGE

from gateway.command.config import Config, ConfigError, parser
from gateway.command.settings import SETTINGS, table

THEIRS = {each.name: each for each in gunicorn.config.KNOWN_SETTINGS}

DIFFERENT = {
    "control_socket": "ours is off unless it is asked for",
    "default_proc_name": "the name of the program",
    "chdir": "where the test is",
    "cert_reqs": "there is no TLS",
    "ssl_version": "there is no TLS",
    "user": "whoever starts it",
    "group": "whoever starts it",
}
"""Settings whose presets are not gunicorn's, and why."""


def test_every_setting_of_gunicorn_has_a_verdict():
    assert set(THEIRS) == set(SETTINGS)
    for setting in SETTINGS.values():
        assert setting.how in ("option", "command", "refused", "warned", "needless"), setting
        assert setting.what, setting


@pytest.mark.parametrize("name", sorted(THEIRS))
def test_flags_and_presets_are_gunicorns(name):
    ours, theirs = SETTINGS[name], THEIRS[name]
    assert set(theirs.cli or ()) <= set(ours.flags), (theirs.cli, ours.flags)
    if ours.kind != "hook" and name not in DIFFERENT:
        assert ours.default == theirs.default or str(ours.default) == str(theirs.default), (
            ours,
            theirs.default,
        )
    action = {"store_true": "bool", "store_const": "off", "append": "list"}.get(theirs.action)
    if action is not None:
        assert ours.kind == action, (ours, theirs.action)


def test_one_command_line_means_the_same_to_both():
    said = shlex.split(
        "-w 3 --threads=2 -k gthread -t 7 --graceful-timeout 8 --keep-alive 9 -b :1 -b unix:/x "
        "--max-requests 10 --max-requests-jitter 2 --worker-connections 11 --limit-request-line 100 "
        "--limit-request-fields 12 --limit-request-field_size 13 -p /pid -u nobody -g nogroup -m 022 "
        "--access-logfile - --log-level debug -e A=1 -e B=2 --preload --reload --backlog 5 "
        "--proxy-protocol v1 -n name --forwarded-allow-ips * --reuse-port -D --capture-output module:app"
    )
    theirs = vars(gunicorn.config.Config().parser().parse_args(said))
    ours = vars(parser(SETTINGS).parse_args(said))
    cfg, real = Config(), gunicorn.config.Config()
    for name, value in theirs.items():
        if name == "args" or value is None:
            continue
        assert name in ours, name
        if name not in ("user", "group"):
            real.set(name, value)
            cfg.set(name, ours[name])
            want = real.settings[name].get()
            have = (
                cfg.values[name].split(",")
                if isinstance(want, list) and name.endswith("ips")
                else cfg.values[name]
            )
            assert have == want or name == "worker_class", (name, have, want)
    assert ours["args"] == theirs["args"] == ["module:app"]


@pytest.mark.parametrize(
    "name", sorted(name for name, each in SETTINGS.items() if each.kind in ("int", "octal", "bool"))
)
def test_values_are_judged_as_gunicorn_does(name):
    validator = getattr(THEIRS[name].validator, "__func__", THEIRS[name].validator)
    for value in (0, 1, "2", "true", "nonsense", -1, True, None, [], "010"):
        cfg = Config()
        try:
            cfg.set(name, value)
            ours = cfg.values[name]
        except ConfigError as error:
            assert name in str(error)
            ours = None
        try:
            theirs = validator(value)
        except (TypeError, ValueError):
            continue  # we may take more, such as yes and no
        if theirs is not None and not (ours is None and name.startswith("http2")):
            assert ours == theirs, (value, ours, theirs)


def test_the_readme_has_the_table():
    readme = (PACKAGE / "README.md").read_text("utf-8")
    start, end = "<!-- settings -->\n", "<!-- end of settings -->\n"
    assert readme.partition(start)[2].partition(end)[0] == table(), (
        "write it anew: PYTHONPATH=bindings/python python bindings/python/tests/test_settings.py"
    )


def test_each_flag_has_help_that_can_be_printed():
    text = parser(Config().settings).format_help()
    assert "--workers INT" in text and "--max-body" in text
    assert argparse.SUPPRESS not in text


def write_readme():
    path = Path(PACKAGE / "README.md")
    before, start, rest = path.read_text("utf-8").partition("<!-- settings -->\n")
    _, end, after = rest.partition("<!-- end of settings -->\n")
    path.write_text(before + start + table() + end + after)


if __name__ == "__main__":
    write_readme()
