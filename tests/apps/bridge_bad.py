"""Applications that break PEP 3333, or break down, one way each."""

import sys

TEXT = [("Content-Type", "text/plain")]
SECRET = "not for the client"


# It breaks down -------------------------------------------------------------------------------------------------------


def raises_at_once(environ, start_response):
    raise LookupError(SECRET)


def raises_after_start(environ, start_response):
    start_response("200 OK", TEXT)
    raise LookupError(SECRET)


def raises_before_first_piece(environ, start_response):
    start_response("200 OK", TEXT)
    yield b""
    raise LookupError(SECRET)


def raises_in_mid_stream(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"some of it"
    raise LookupError(SECRET)


def raises_short_of_its_length(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "20")])
    yield b"some of it"
    raise LookupError(SECRET)


def raises_after_write(environ, start_response):
    start_response("200 OK", TEXT)(b"some of it")
    raise LookupError(SECRET)


def raises_in_iter(environ, start_response):
    class Body:
        def __iter__(self):
            raise LookupError(SECRET)

    start_response("200 OK", TEXT)
    return Body()


def raises_in_close(environ, start_response):
    class Body(list):
        def close(self):
            raise LookupError(SECRET)

    start_response("200 OK", TEXT)
    return Body([b"all of it"])


def raises_system_exit(environ, start_response):
    sys.exit(SECRET)


def raises_keyboard_interrupt(environ, start_response):
    start_response("200 OK", TEXT)
    raise KeyboardInterrupt(SECRET)
    yield b""


def raises_stop_iteration(environ, start_response):
    """As ``next()`` does of what is empty; no future may hold it, and a loop may take it for an end."""
    start_response("200 OK", TEXT)
    raise StopIteration(SECRET)


def raises_what_has_no_str(environ, start_response):
    class Unprintable(Exception):
        def __str__(self):
            raise LookupError(SECRET)

    raise Unprintable


def recurses(environ, start_response):
    return recurses(environ, start_response)


# start_response -------------------------------------------------------------------------------------------------------


def never_starts(environ, start_response):
    return [b"without a head"]


def never_starts_empty(environ, start_response):
    return []


def never_starts_generator(environ, start_response):
    yield b"without a head"


def starts_twice(environ, start_response):
    start_response("200 OK", TEXT)
    start_response("200 OK", TEXT)
    return [b""]


def starts_again_in_mid_stream(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"some of it"
    start_response("200 OK", TEXT)


def exc_info_in_mid_stream(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"some of it"
    try:
        raise LookupError(SECRET)
    except LookupError:
        start_response("500 Internal Server Error", TEXT, sys.exc_info())
    yield b"never"


def _status(status):
    def application(environ, start_response):
        start_response(status, TEXT)
        return [b"x"]

    return application


status_is_a_number = _status(200)
status_is_bytes = _status(b"200 OK")
status_without_digits = _status("OK")
status_too_small = _status("99 Low")
status_too_large = _status("1000 High")
status_is_informational = _status("101 Switching Protocols")
status_with_a_line_break = _status("200 OK\r\nX-Evil: 1")
status_is_empty = _status("")


def _headers(*headers):
    def application(environ, start_response):
        start_response("200 OK", list(headers))
        return [b"x"]

    return application


header_with_cr = _headers(("X-A", "a\rX-Evil: 1"))
header_with_lf = _headers(("X-A", "a\nX-Evil: 1"))
header_with_crlf = _headers(("X-A", "a\r\nX-Evil: 1"))
header_with_nul = _headers(("X-A", "a\0b"))
header_name_with_a_line_break = _headers(("X-A: 1\r\nX-Evil", "1"))
header_name_with_a_space = _headers(("X A", "1"))
header_name_with_a_colon = _headers(("X-A:", "1"))
header_name_with_a_nul = _headers(("X\0A", "1"))
header_name_is_empty = _headers(("", "1"))
header_name_beyond_ascii = _headers(("X-\xe4", "1"))
header_value_beyond_latin_1 = _headers(("X-A", "\u20ac"))
header_name_is_bytes = _headers((b"X-A", "1"))
header_value_is_a_number = _headers(("X-A", 1))
header_is_no_pair = _headers(("X-A", "1", "2"))
header_is_none = _headers(None)
headers_too_large = _headers(("X-A", "a" * 70_000))
length_is_no_number = _headers(("Content-Length", "one"))
length_is_negative = _headers(("Content-Length", "-1"))
length_twice = _headers(("Content-Length", "1"), ("Content-Length", "2"))
hop_by_hop_connection = _headers(("Connection", "close"))
hop_by_hop_keep_alive = _headers(("Keep-Alive", "timeout=5"))
hop_by_hop_proxy_authenticate = _headers(("Proxy-Authenticate", "Basic"))
hop_by_hop_proxy_authorization = _headers(("Proxy-Authorization", "Basic eA=="))
hop_by_hop_te = _headers(("TE", "trailers"))
hop_by_hop_trailer = _headers(("Trailer", "Expires"))
hop_by_hop_transfer_encoding = _headers(("transfer-encoding", "chunked"))
hop_by_hop_upgrade = _headers(("UPGRADE", "websocket"))


# The body -------------------------------------------------------------------------------------------------------------


def _returns(body):
    def application(environ, start_response):
        start_response("200 OK", TEXT)
        return body

    return application


returns_none = _returns(None)
returns_a_number = _returns(7)
returns_str = _returns("hello")
returns_list_of_str = _returns([b"bytes", "str"])
returns_list_of_bytearray = _returns([bytearray(b"bytes")])


def yields_str(environ, start_response):
    start_response("200 OK", TEXT)
    yield "str"


def yields_str_in_mid_stream(environ, start_response):
    start_response("200 OK", TEXT)
    yield b"some of it"
    yield "str"


def writes_str(environ, start_response):
    start_response("200 OK", TEXT)("str")
    return []


def list_short_of_its_length(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "20")])
    return [b"some of it"]


def generator_short_of_its_length(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "20")])
    yield b"some of it"


def empty_short_of_its_length(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "20")])
    return []


def list_beyond_its_length(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    return [b"012", b"345", b"678"]


def generator_beyond_its_length(environ, start_response):
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    while True:  # the first piece too many ends it
        yield b"012"


def write_beyond_its_length(environ, start_response):
    write = start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    write(b"012")
    write(b"345")
    write(b"678")
    return [b"9"]


def body_with_no_content(environ, start_response):
    start_response("204 No Content", [("Content-Length", "4")])
    return [b"body"]


def generated_body_with_no_content(environ, start_response):
    start_response("204 No Content", [])
    yield b"body"
    yield b"body"


def body_with_not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"x"'), ("Content-Length", "4")])
    yield b"body"


# What is tolerated ----------------------------------------------------------------------------------------------------


class Text(str):
    """Such as Django's SafeString."""

    __slots__ = ()


def bare_status(environ, start_response):
    start_response("200", TEXT)
    return [b"x"]


def status_without_reason(environ, start_response):
    start_response("404 ", TEXT)
    return [b"x"]


def subclass_of_str(environ, start_response):
    start_response(Text("200 OK"), [(Text("X-Text"), Text("safe")), *TEXT])
    return [b"x"]


def exc_info_by_keyword(environ, start_response):
    """PEP 3333 wants it by position, and hardly a server insists."""
    try:
        raise LookupError(SECRET)
    except LookupError:
        start_response("503 Service Unavailable", TEXT, exc_info=sys.exc_info())
    return [b"x"]


def headers_of_lists(environ, start_response):
    start_response("200 OK", [["X-Text", "lists"]])
    return [b"x"]


def headers_in_a_tuple(environ, start_response):
    start_response("200 OK", (("X-Text", "tuple"),))
    return [b"x"]


def length_with_spaces(environ, start_response):
    start_response("200 OK", [("Content-Length", " 1 ")])
    return [b"x"]
