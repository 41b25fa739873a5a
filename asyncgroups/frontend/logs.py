"""Where log records go when nobody else has said so. Imports the standard library only."""

import logging

__all__ = ["set_up"]


def set_up(level: str, *names: str) -> None:
    """Write the records of the loggers ``names`` to stderr, from ``level`` on, one of Python's names in any case.

    A logger that leads somewhere already is left alone: an embedding application has said where.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter("%(asctime)s [%(process)d] [%(levelname)s] %(message)s", "%Y-%m-%d %H:%M:%S %z")
    )
    for name in names:
        logger = logging.getLogger(name)
        if not logger.hasHandlers():
            logger.addHandler(handler)
            logger.setLevel(level.upper())
            logger.propagate = False
