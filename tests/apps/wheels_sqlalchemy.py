"""Asks a database in memory, with SQLAlchemy."""

import os

import sqlalchemy

engine = sqlalchemy.create_engine("sqlite://")


def application(environ, start_response):
    with engine.connect() as connection:
        found = connection.execute(sqlalchemy.select(sqlalchemy.literal(45))).scalar()
    start_response("200 OK", [])
    return [f"{os.getpid()} {found}".encode()]
