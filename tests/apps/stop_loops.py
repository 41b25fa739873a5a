"""Loops for ever, in Python: with all the CPU that there is, or leaving it to others."""

import time

import stop_marks


def application(environ, start_response):
    stop_marks.leave("loops")
    while True:
        pass


def patient(environ, start_response):
    stop_marks.leave("loops")
    while True:
        time.sleep(0.002)
