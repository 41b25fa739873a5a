"""The same answers from WSGI and from bare ASGI. Any Python can import it: mod_wsgi brings its own."""

BODY = b"Hello, world!\n"
LENGTH = str(len(BODY))

WORK = 150_000
"""Rounds of a loop: about 10 milliseconds of Python on the machines of 2026."""

PIECE = 64 * 1024


def application(environ, start_response):
    """Answer at once."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", LENGTH)])
    return [BODY]


def busy(environ, start_response):
    """Compute in Python, then answer."""
    total = 0
    for number in range(WORK):
        total += number * number
    return application(environ, start_response)


def importing(environ, start_response):
    """Import ``heavy``, then answer."""
    import heavy  # noqa: F401, PLC0415 - the import is what is measured

    return application(environ, start_response)


def together(environ, start_response):
    """All of these in one process: the first segment of the path says which."""
    one = {"/busy": busy, "/heavy": importing}.get(environ["PATH_INFO"], application)
    return one(environ, start_response)


async def bare(scope, receive, send):
    """The same answer as ``application``, without WSGI; on a path it does what ``memory_moves`` does under WSGI."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["path"] == "/moves":
        await move(scope, receive, send)
    else:
        while (await receive()).get("more_body"):
            pass
        await start(send, LENGTH)
        await send({"type": "http.response.body", "body": BODY})


async def move(scope, receive, send):
    """Take a body of any length, or give one of the length that the query says, in pieces of 64 KiB."""
    if scope["method"] == "POST":
        length, more = 0, True
        while more:
            event = await receive()
            length += len(event.get("body", b""))
            more = event.get("more_body", False)
        body = str(length).encode()
        await start(send, str(len(body)))
        await send({"type": "http.response.body", "body": body})
        return
    length = int(scope["query_string"])
    await start(send, str(length))
    piece = bytes(PIECE)
    while length:
        part = piece[:length]
        length -= len(part)
        await send({"type": "http.response.body", "body": part, "more_body": length > 0})


async def start(send, length):
    headers = [(b"content-type", b"text/plain"), (b"content-length", length.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
