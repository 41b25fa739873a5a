"""What applications print and log, as an operator reads it: level, application group, request, text."""

import re
from collections.abc import Iterator

import pytest

from tests.serve.conftest import Site
from tests.serving import Server, serving

LINES = {
    "print": r"\[INFO\] \[speakers #\d+\] one line\n",
    "unfinished_print": r"\[INFO\] \[speakers #\d+\] an unfinished line\n",
    "lines": r"\[INFO\] \[speakers #\d+\] first line\nsecond line\n",
    "stderr": r"\[ERROR\] \[speakers #\d+\] to stderr\n",
    "wsgi_errors": r"\[ERROR\] \[speakers #\d+\] to wsgi.errors\n",
    "unfinished_wsgi_errors": r"\[ERROR\] \[speakers #\d+\] unfinished\n",
    "logging": r"\[ERROR\] \[speakers #\d+\] INFO:shop:sold out\n",
    "warning": r"\[ERROR\] \[speakers #\d+\] .*UserWarning: look out\n",
    "exception": r"\[ERROR\] \[speakers #\d+\] exception in 'log_speaks:application':\n"
    r"Traceback (?s:.*)LookupError: nobody is at home\n",
    "exit": r"\[ERROR\] \[speakers #\d+\] exception in 'log_speaks:application':\n"
    r"Traceback (?s:.*)SystemExit: enough\n",
    "thread": r"\[ERROR\] \[speakers\] exception in thread side:\n"
    r"Traceback (?s:.*)LookupError: nobody is in the thread\n",
}
IN_GLOBAL = {
    "wsgi_errors": r"\[ERROR\] \[%{GLOBAL} #\d+\] to wsgi.errors\n",
    "unfinished_wsgi_errors": r"\[ERROR\] \[%{GLOBAL} #\d+\] unfinished\n",
    "exception": r"\[ERROR\] \[%{GLOBAL} #\d+\] exception in 'log_speaks:application':\n"
    r"Traceback (?s:.*)LookupError: nobody is at home\n",
    "print": r"one line\n",
}


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Server]:
    text = "".join(
        f'[[mount]]\npath = "{path}"\napp = "log_speaks:application"\napplication_group = "{group}"\n'
        for path, group in (("/speakers", "speakers"), ("/global", "%{GLOBAL}"))
    )
    with serving(site(text)) as server:
        yield server


@pytest.mark.parametrize("way", LINES)
def test_a_group_speaks(server: Server, way: str) -> None:
    """Each way of an interpreter of its own to say something ends in one log record."""
    answer = server.get(f"/speakers?{way}")
    assert answer.status_code == (500 if way in ("exception", "exit") else 200)
    server.wait_for_log(LINES[way], 5)
    assert len(re.findall(LINES[way], server.log())) == 1


@pytest.mark.parametrize("way", IN_GLOBAL)
def test_global_speaks(server: Server, way: str) -> None:
    """In GLOBAL standard streams are the server's own; wsgi.errors and exceptions make log records."""
    server.get(f"/global?{way}")
    server.wait_for_log(IN_GLOBAL[way], 5)
