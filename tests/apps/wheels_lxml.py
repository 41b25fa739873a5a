"""Parses with lxml."""

import os

from lxml import etree


def application(environ, start_response):
    start_response("200 OK", [])
    return [f"{os.getpid()} {etree.fromstring('<a><b>45</b></a>').findtext('b')}".encode()]
