"""Encrypts and decrypts with cryptography."""

import os

from cryptography.fernet import Fernet


def application(environ, start_response):
    box = Fernet(Fernet.generate_key())
    start_response("200 OK", [])
    return [f"{os.getpid()} {box.decrypt(box.encrypt(b'45')).decode()}".encode()]
