"""wsgiref.validate is silent around every application of apps/conform.py that is right."""

import pytest

RIGHT = """a_list a_list_of_one a_tuple a_tuple_of_one a_generator a_generator_expression an_iterator a_map
by_index empty_chunks by_instance by_method by_write by_write_alone by_write_in_next
with_exc_info_at_once replaced replaced_in_next an_empty_list an_empty_generator one_empty_chunk
many_headers the_list_is_copied closed closed_when_empty file_plain file_open file_unbuffered
file_offset file_with_length file_empty file_in_memory file_without_close file_gzip file_subclass
file_subclass_of_wrapper file_iterated file_pipe model environ_types no_content not_modified
redirects with_length with_date_and_server big form method show""".split()


@pytest.fixture(scope="module", params=[{}, {"threads": 2}, {"request_buffering": False}], ids=str)
def site(serve_module, request):
    return serve_module("apps.conform", env={"PYTHONWARNINGS": "error"}, **request.param)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("name", RIGHT)
def test_validate_is_silent(site, name, method):
    body = b"a=1&b=2" if method == "POST" else None
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    answer = site.request(method, "/validated?" + name, body, headers)
    assert answer.status in (200, 204, 302, 304), site.log()
    if name == "form":
        expected = "[(b'a', [b'1']), (b'b', [b'2'])]" if body else "[]"
        assert answer.text == ("" if method == "HEAD" else expected)


def test_and_it_complains(site):
    """It is really there."""
    assert site.get("/validated?by_keywords").status == 500
    site.expect_log("AssertionError")


def test_nothing_was_said(serve):
    site = serve("apps.conform", env={"PYTHONWARNINGS": "always"})
    for name in set(RIGHT) - {"file_with_length"}:  # which has a warning: there is more than it says
        site.get("/validated?" + name)
    site.stop()
    lines = [line for line in site.log().splitlines() if "[INFO]" not in line]
    assert lines == []
