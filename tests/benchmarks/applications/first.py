"""An application that imports nothing: what its group's first request costs is the group."""


def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "1")])
    return [b"1"]
