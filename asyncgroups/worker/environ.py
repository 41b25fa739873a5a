"""The WSGI environ of a request, built in the application's interpreter. Standard library, ``wire`` and ``worker``.

PEP 3333: every CGI variable is a str whose characters are the bytes of the request (latin-1). ``mod_wsgi.*`` is what
code that was written for mod_wsgi asks for.
"""

from time import time

from asyncgroups.wire.messages import Request
from asyncgroups.worker import module
from asyncgroups.worker.journal import LineStream
from asyncgroups.worker.streams import FileWrapper, Input

__all__ = ["EnvironBuilder", "header_value", "unquote"]

_KNOWN_NAMES = 512
_HEX = {b"%02x" % n: bytes((n,)) for n in range(256)}
_HEX |= {(a + b).encode(): bytes((int(a + b, 16),)) for a in "0123456789abcdefABCDEF" for b in "0123456789abcdefABCDEF"}


def unquote(path: bytes) -> bytes:
    """``path`` without its percent-encoding (RFC 3986 section 2.1); what is no valid triplet stays as it is."""
    if b"%" not in path:
        return path
    first, *rest = path.split(b"%")
    return first + b"".join([_HEX[part[:2]] + part[2:] if part[:2] in _HEX else b"%" + part for part in rest])


def header_value(headers: list[bytes], name: bytes) -> bytes | None:
    """The first value of the lower-case header ``name`` among alternating names and values."""
    for at in range(0, len(headers), 2):
        if headers[at] == name:
            return headers[at + 1]
    return None


class EnvironBuilder:
    """Builds environs for one group: what is the same for each of its requests is made once."""

    def __init__(
        self,
        *,
        process_group: str,
        application_group: str,
        threads: int,
        errors: LineStream,
        multiprocess: bool = False,
    ) -> None:
        self._errors = errors
        self._same: dict[str, object] = {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_SOFTWARE": "asyncgroups",
            "wsgi.version": (1, 0),
            "wsgi.errors": errors,
            "wsgi.multithread": threads != 1,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
            "asyncgroups.process_group": process_group,
            "asyncgroups.application_group": application_group,
            "mod_wsgi.process_group": process_group,
            "mod_wsgi.application_group": application_group,
            "mod_wsgi.version": module.VERSION,
        }
        self._of_applications: dict[bytes, dict[str, object]] = {}
        # None: dropped. `a_b` and `a-b` would be one variable, so that a client could speak in a proxy's name;
        # HTTP_PROXY is a variable that programs obey (CVE-2016-5385). A field name may be up to 64 KiB: the cache is
        # bounded.
        self._names: dict[bytes, str | None] = {b"content-type": "CONTENT_TYPE", b"proxy": None}

    def build(self, request: Request, stream: Input, *, thread: int = 1) -> dict[str, object]:
        """The environ of ``request``, whose body is ``stream``, in the thread of that number."""
        scheme = request.scheme.decode("latin-1")
        target = request.target.decode("latin-1")
        environ = dict(self._same)
        names = iter(request.env)
        for name in names:
            environ[name.decode("latin-1")] = next(names).decode("latin-1")
        environ |= self._of_applications.get(request.application) or self._of(request.application)
        script_name = unquote(request.script_name).decode("latin-1")
        path_info = unquote(request.path_info).decode("latin-1")
        environ |= {
            "REQUEST_METHOD": request.method.decode("latin-1"),
            "SCRIPT_NAME": script_name,
            "PATH_INFO": path_info,
            "QUERY_STRING": request.query_string.decode("latin-1"),
            "REQUEST_URI": target,
            "RAW_URI": target,
            "REQUEST_SCHEME": scheme,
            "SERVER_NAME": request.server_name.decode("latin-1"),
            "SERVER_PORT": request.server_port.decode("latin-1"),
            "SERVER_PROTOCOL": "HTTP/" + request.http_version.decode("latin-1"),
            "wsgi.url_scheme": scheme,
            "wsgi.input": stream,
            "mod_wsgi.script_name": script_name,
            "mod_wsgi.path_info": path_info,
            "mod_wsgi.request_id": str(request.exchange),
            "mod_wsgi.thread_id": thread,
            "mod_wsgi.request_start": request.began / 1_000_000,
            "mod_wsgi.application_start": time(),
        }
        if scheme == "https":
            environ["HTTPS"] = "on"
        if request.client_host:
            environ["REMOTE_ADDR"] = request.client_host.decode("latin-1")
            environ["REMOTE_PORT"] = request.client_port.decode("latin-1")
        self._add_headers(environ, request.headers)
        return environ

    def flush(self) -> None:
        """Send what this thread has written to ``wsgi.errors`` without a newline."""
        self._errors.flush()

    def _of(self, application: bytes) -> dict[str, object]:
        """What is the same for each request to ``application``; there are as many of them as the interpreter loads."""
        path, colon, name = application.rpartition(b":")
        made: dict[str, object] = {"mod_wsgi.callable_object": name.decode("latin-1")}
        if path.startswith(b"/") and colon:
            made["SCRIPT_FILENAME"] = path.decode("latin-1")
            made["mod_wsgi.request_handler"] = "wsgi-script"
            made["mod_wsgi.handler_script"] = ""
        self._of_applications[application] = made
        return made

    def _add_headers(self, environ: dict[str, object], headers: list[bytes]) -> None:
        names = self._names
        seen: dict[str, list[str]] = {}
        for at in range(0, len(headers), 2):
            field = headers[at]
            try:
                name = names[field]
            except KeyError:
                name = self._name(field)
            if name is None:
                continue
            value = headers[at + 1].decode("latin-1")
            if name in seen:
                # Joined once, at the end: one by one it would take quadratic time (CVE-2025-14550).
                seen[name].append(value)
            else:
                seen[name] = [value]
        for name, values in seen.items():
            if len(values) == 1:
                environ[name] = values[0]
            elif name == "HTTP_COOKIE":
                environ[name] = "; ".join(values)  # RFC 9113 section 8.2.3
            elif name in _SINGLE:
                environ[name] = values[0]  # the front end refuses a second, different Host and Content-Length
            else:
                environ[name] = ",".join(values)  # RFC 9110 section 5.3

    def _name(self, field: bytes) -> str | None:
        lowered = field.lower()
        if b"_" in lowered or lowered == b"proxy":
            name = None
        elif lowered == b"content-type":
            name = "CONTENT_TYPE"
        elif lowered == b"content-length":
            name = "CONTENT_LENGTH"
        else:
            # bytes.upper() is that of ASCII: of a str, the byte \xdf would become "SS", and X-SSL could be forged.
            name = "HTTP_" + lowered.upper().replace(b"-", b"_").decode("latin-1")
        if len(self._names) < _KNOWN_NAMES and len(field) < 64:
            self._names[field] = name
        return name


_SINGLE = frozenset({"CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_HOST"})
