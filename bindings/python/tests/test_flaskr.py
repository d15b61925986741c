"""The blog of Flask's tutorial, tested as its tutorial tests it, but against a live server of two workers."""

import subprocess
import sys
import urllib.parse

import harness
import pytest
from test_frameworks import FORM, Browser


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """As a person deploys it: flask init-db, then the server by the name of the factory."""
    env = {"FLASKR_INSTANCE": str(tmp_path_factory.mktemp("instance"))}
    with harness.listener() as sock:
        address, fd = sock.getsockname(), sock.fileno()
        argv = [sys.executable, "-m", "gateway", "-w", "2", "-b", f"fd://{fd}", "apps.flaskr:create_app()"]
        process = harness.Process(argv, env=env, pass_fds=[fd])
    process.browser = lambda: Browser(harness.Client(address))
    try:
        command = [sys.executable, "-m", "flask", "--app", "apps.flaskr", "init-db"]
        path = f"{harness.HERE}:{harness.PACKAGE}"
        said = subprocess.run(
            command,
            env={**harness.os.environ, **env, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "Initialized" in said.stdout
        yield process
        assert process.stop() == 0
    finally:
        process.discard()


@pytest.fixture
def browser(site):
    return site.browser()


def post(browser, path, **form):
    return browser.post(path, urllib.parse.urlencode(form), FORM)


def enter(browser, name):
    """Register, and log in."""
    assert post(browser, "/auth/register", username=name, password="secret")["location"] == "/auth/login"
    assert post(browser, "/auth/login", username=name, password="secret")["location"] == "/"


def write(browser, title):
    assert post(browser, "/create", title=title, body="a <body>")["location"] == "/"
    page = browser.get("/").text
    _, found, rest = page.partition(f"<h1>{title}</h1>")
    assert found, page
    return int(rest.partition('/update">Edit')[0].rpartition('href="/')[2])


def test_factory(browser):
    assert browser.get("/hello").text == "Hello, World!"
    assert "lightgray" in browser.get("/static/style.css").text


def test_register(browser):
    assert 'value="Register"' in browser.get("/auth/register").text
    answer = post(browser, "/auth/register", username="a", password="a")
    assert (answer.status, answer["location"]) == (302, "/auth/login")


@pytest.mark.parametrize(
    "username, password, message",
    [
        ("", "", "Username is required."),
        ("b", "", "Password is required."),
        ("twice", "x", "User twice is already registered."),
    ],
)
def test_register_says_what_is_wrong(browser, username, password, message):
    if username == "twice":
        post(browser, "/auth/register", username=username, password=password)
    assert message in post(browser, "/auth/register", username=username, password=password).text


def test_login_and_logout(browser):
    assert 'value="Log In"' in browser.get("/auth/login").text
    enter(browser, "Zo\u00eb")
    assert "<span>Zo\u00eb</span>" in browser.get("/").text
    browser.get("/auth/logout")
    assert "Log In" in browser.get("/").text and "Zo\u00eb</span>" not in browser.get("/").text


def test_login_says_what_is_wrong(browser):
    post(browser, "/auth/register", username="somebody", password="secret")
    for name, password, message in (
        ("nobody", "secret", "Incorrect username."),
        ("somebody", "wrong", "Incorrect password."),
    ):
        assert message in post(browser, "/auth/login", username=name, password=password).text


@pytest.mark.parametrize("path", ["/create", "/1/update", "/1/delete"])
def test_login_is_required(browser, path):
    assert post(browser, path)["location"] == "/auth/login"


def test_posts(browser, site):
    enter(browser, "writer")
    number = write(browser, "first title")
    page = browser.get("/").text
    assert "by writer" in page and "a &lt;body&gt;" in page and f'href="/{number}/update"' in page
    assert "Title is required." in post(browser, "/create", title="", body="").text
    assert "a &lt;body&gt;" in browser.get(f"/{number}/update").text
    assert "Title is required." in post(browser, f"/{number}/update", title="", body="").text
    assert post(browser, f"/{number}/update", title="second title", body="other")["location"] == "/"
    assert "second title" in browser.get("/").text and "first title" not in browser.get("/").text

    other = site.browser()
    enter(other, "reader")
    assert f'href="/{number}/update"' not in other.get("/").text
    assert post(other, f"/{number}/update", title="x", body="").status == 403
    assert post(other, f"/{number}/delete").status == 403

    assert post(browser, f"/{number}/delete")["location"] == "/"
    assert "second title" not in browser.get("/").text
    for path in (f"/{number}/update", f"/{number}/delete"):
        assert post(browser, path, title="x", body="").status == 404
