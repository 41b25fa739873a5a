"""Script files: read, compiled and executed as modules of their own, as mod_wsgi does. Standard library only.

Guarantees:

- Nothing but a regular file is read: no fifo or device is waited for.
- A script that fails leaves no module behind; one that is executed again, and fails, leaves the one that was there.
- A traceback shows the lines that were executed, whatever has become of the file meanwhile, if the interpreter had
  ``linecache`` by then.
"""

from __future__ import annotations

import errno
import os
import sys

__all__ = ["Unreadable", "execute", "is_script", "put_back", "split"]

_KINDS, _REGULAR = 0o170000, 0o100000
"""Of ``st_mode`` (inode(7)): the module stat would be loaded for two numbers."""

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENAMETOOLONG})


class Unreadable(Exception):
    """Raised by ``execute``: there is no such file, or it cannot be read. is_absent: whether it is the former."""

    def __init__(self, sentence: str, *, is_absent: bool) -> None:
        super().__init__(sentence)
        self.is_absent = is_absent


def is_script(application: str) -> bool:
    """Whether it is ``/path/of/a/script:callable``, and not ``module:attribute`` or the name of an object."""
    return application.startswith("/")


def split(application: str) -> tuple[str, str]:
    """Path and callable of ``/path/of/a/script:callable``; a path may hold colons, a callable does not."""
    path, _, name = application.rpartition(":")
    return path, name


def execute(path: str) -> ModuleType:
    """The module of the script at ``path``, an absolute one, executed just now; in place of an earlier one.

    Raises Unreadable, and whatever the script raises.
    """
    from importlib import machinery, util  # noqa: PLC0415 - an interpreter without scripts has no use for it

    source, changed_at = _read(path)
    # mod_wsgi's own name: whatever a script is called, it hides no other module.
    name = f"_mod_wsgi_{_digest(os.fsencode(path))}"
    loader = machinery.SourceFileLoader(name, path)
    spec = util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = util.module_from_spec(spec)
    vars(module)["__mtime__"] = changed_at // 1000
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses, pickle and the like look there, while it runs as well
    try:
        exec(loader.source_to_code(source, path), vars(module))  # noqa: S102 - that is what a script is for
    except BaseException:
        put_back(before, module)
        raise
    finally:
        _remember(path, source)
    return module


def put_back(before: ModuleType | None, module: ModuleType) -> None:
    """Have ``sys.modules`` as it was before ``module`` was executed."""
    if before is None:
        sys.modules.pop(module.__name__, None)
    else:
        sys.modules[module.__name__] = before


def _read(path: str) -> tuple[bytes, int]:
    """What the file holds, and when it was changed, in nanoseconds."""
    try:
        # Not blocking: a fifo without a writer would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            status = os.fstat(descriptor)
            if status.st_mode & _KINDS != _REGULAR:
                raise Unreadable("is no regular file", is_absent=True)
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(), status.st_mtime_ns
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _NOT_THERE:
            raise Unreadable("is not there", is_absent=True) from error
        raise Unreadable(f"cannot be read: {error.strerror}", is_absent=False) from error


def _digest(path: bytes) -> str:
    try:
        import _md5  # type: ignore[import-not-found]  # noqa: PLC0415 - typeshed has it not; hashlib would load OpenSSL
    except ImportError:  # a Python that was built without it
        import hashlib as _md5  # noqa: PLC0415 - as above
    digest: str = _md5.md5(path, usedforsecurity=False).hexdigest()
    return digest


def _remember(path: str, source: bytes) -> None:
    """Have tracebacks show these lines, and not those that the file has by then."""
    linecache = sys.modules.get("linecache")
    if linecache is not None:
        try:
            text = source.decode()
        except UnicodeDecodeError:  # PEP 263; only its comments and strings may look odd
            text = source.decode("latin-1")
        # Without a time it is never compared with the file.
        linecache.cache[path] = len(source), None, text.splitlines(keepends=True), path


TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
