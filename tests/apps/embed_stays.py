"""Stays in a request until it is interrupted, notes when that was, and goes, or does not."""

import time

from embed_who import leave


def application(environ, start_response):
    try:
        leave("waits")
        while True:
            time.sleep(0.01)
    finally:
        leave(f"interrupted-{time.monotonic()}")


def for_ever(environ, start_response):
    while True:
        try:
            application(environ, start_response)
        except BaseException:
            continue
