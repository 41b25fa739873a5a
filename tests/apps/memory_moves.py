"""Takes a body of any length, or gives one of the length that QUERY_STRING says, in pieces of 64 KiB."""

PIECE = 64 * 1024


def application(environ, start_response):
    if environ["REQUEST_METHOD"] == "POST":
        length = 0
        while piece := environ["wsgi.input"].read(PIECE):
            length += len(piece)
        start_response("200 OK", [])
        return [str(length).encode()]
    length = int(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Length", str(length))])
    return give(length)


def give(length):
    piece = bytes(PIECE)
    while length:
        yield piece[:length]
        length -= min(length, PIECE)
