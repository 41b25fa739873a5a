"""Whether the files that TLS needs can be used, for ``serve`` and for ``check``. Imports ``config``."""

import ssl

from asyncgroups.config import Tls

__all__ = ["check_files"]


def check_files(tls: Tls) -> None:
    """Load the files as a server would, so that what is wrong with one is known before anything is served.

    Raises OSError, whose sentence names the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name, path in (("certfile", tls.certfile), ("keyfile", tls.keyfile), ("ca_certs", tls.ca_certs)):
        if path is not None:
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                raise OSError(f"{name}: {path}: {error.strerror}") from error
    try:
        context.load_cert_chain(tls.certfile, tls.keyfile, tls.keyfile_password or "")
    except OSError as error:
        raise OSError(
            f"certfile {tls.certfile} and keyfile {tls.keyfile} cannot be used together: they are no PEM files, do not "
            f"belong to each other, or keyfile_password is wrong or missing ({error})"
        ) from error
    if tls.ca_certs is not None:
        try:
            context.load_verify_locations(tls.ca_certs)
        except OSError as error:
            raise OSError(f"ca_certs: {tls.ca_certs} holds no PEM certificates ({error})") from error
