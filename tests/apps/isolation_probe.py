"""Says where it runs. ``PATH_INFO`` asks for more: /together, /environ, /write, /drop, /child."""

import asyncio
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent import interpreters
from urllib.parse import parse_qsl

import isolation_shared

PRINT = "import os, sys; sys.stdout.write(os.environ.get(sys.argv[1], '-'))"

at_import = {
    "path": sys.path[:2],
    "argv": sys.argv,
    "variable": os.environ.get("PROBE_SETTING"),
    "inherited": os.environ.get("PROBE_INHERITED"),
}
barriers = {parties: threading.Barrier(parties) for parties in range(1, 5)}
of_this_thread = threading.local()


def application(environ, start_response):
    question = dict(parse_qsl(environ["QUERY_STRING"]))
    if not hasattr(of_this_thread, "calls"):
        of_this_thread.calls = itertools.count(1)
    answer = {
        "interpreter": interpreters.get_current().id,
        "thread": threading.get_native_id(),
        "calls_of_thread": next(of_this_thread.calls),
        "calls": next(isolation_shared.calls),
        "process": os.getpid(),
        "group": environ["asyncgroups.application_group"],
        "multithread": environ["wsgi.multithread"],
        "tenant": environ.get("PROBE_TENANT"),
        "at_import": at_import,
    }
    match environ["PATH_INFO"]:
        case "/together":
            barriers[int(question["parties"])].wait(20)
        case "/environ":
            answer["value"] = os.environ.get(question["name"])
        case "/write":
            write(question["way"], question["name"], question["value"])
        case "/drop":
            del os.environ[question["name"]]
        case "/child":
            answer["value"] = CHILDREN[question["way"]](question["name"])
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


def write(way, name, value):
    match way:
        case "environ":
            os.environ[name] = value
        case "environb":
            os.environb[name.encode()] = value.encode()
        case "putenv":
            os.putenv(name, value)
        case "update":
            os.environ.update({name: value})


def output_of(start):
    """What a child process writes when ``start(descriptor)`` starts it and returns how to wait for it."""
    reading, writing = os.pipe()
    try:
        wait = start(writing)
    finally:
        os.close(writing)
    with open(reading) as pipe:
        text = pipe.read()
    wait()
    return text


def of_subprocess(name):
    return subprocess.run([sys.executable, "-c", PRINT, name], stdout=subprocess.PIPE, text=True, check=True).stdout


def of_system(name):
    def start(descriptor):
        os.set_inheritable(descriptor, True)
        status = os.system(f'printf %s "${{{name}:--}}" > /proc/{os.getpid()}/fd/{descriptor}')
        assert status == 0, status
        return lambda: None

    return output_of(start)


def of_popen(name):
    with os.popen(f'printf %s "${{{name}:--}}"') as pipe:
        return pipe.read()


def of_posix_spawn(name):
    def start(descriptor):
        actions = [(os.POSIX_SPAWN_DUP2, descriptor, 1)]
        child = os.posix_spawn(sys.executable, [sys.executable, "-c", PRINT, name], None, file_actions=actions)
        return lambda: os.waitpid(child, 0)

    return output_of(start)


def of_asyncio(name):
    async def run():
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", PRINT, name, stdout=asyncio.subprocess.PIPE)
        return (await child.communicate())[0].decode()

    return asyncio.run(run())


def of_multiprocessing(name):
    spawn = multiprocessing.get_context("spawn")  # without Pool and Queue, which need daemon threads
    receiving, sending = spawn.Pipe(duplex=False)
    child = spawn.Process(target=tell, args=(sending, name))
    child.start()
    sending.close()
    with receiving:
        value = receiving.recv()
    child.join()
    return value


def tell(sending, name):
    sending.send(os.environ.get(name, "-"))


CHILDREN = {
    "subprocess": of_subprocess,
    "system": of_system,
    "popen": of_popen,
    "posix_spawn": of_posix_spawn,
    "asyncio": of_asyncio,
    "multiprocessing": of_multiprocessing,
}
