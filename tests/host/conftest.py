"""Fakes: an interpreter and channels that do nothing but remember."""

import pytest

from asyncgroups.errors import ApplicationGroupsError, ChannelClosed


class FakeChannel:
    """Remembers what was said, and whether it was shut and closed."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.shut_down = self.closed = 0
        self.gone = False

    def say(self, frame: bytes) -> None:
        if self.gone:
            raise ChannelClosed("gone")
        self.said.append(frame)

    def receive_nowait(self) -> None:
        if self.gone:
            raise ChannelClosed("gone")

    def shut(self) -> None:
        self.shut_down += 1

    def close(self) -> None:
        self.closed += 1


class FakeInterpreter:
    """Makes workers, unless ``failing`` says how that fails."""

    label = "shop"

    def __init__(self) -> None:
        self.failing: Exception | None = None
        self.failure: str | None = None
        self.numbers: list[int] = []
        self.channels: list[FakeChannel] = []
        self.stops: list[float] = []
        self.interrupts: list[tuple[int, int]] = []
        self.pings = 0

    def add_worker(self, number: int) -> FakeChannel:
        if self.failing is not None:
            raise self.failing
        self.numbers.append(number)
        self.channels.append(FakeChannel())
        return self.channels[-1]

    def stop(self, seconds: float) -> None:
        self.stops.append(seconds)

    def ping(self) -> None:
        self.pings += 1

    def interrupt(self, worker: int, exchange: int) -> None:
        self.interrupts.append((worker, exchange))


class FakeTicket:
    """Remembers what it was told."""

    def __init__(self, exchange: int, key: bytes | None = None) -> None:
        self.exchange = exchange
        self.key = key
        self.worker: object = None
        self.error: ApplicationGroupsError | None = None
        self.told = 0

    def granted(self, worker: object) -> None:
        self.told += 1
        self.worker = worker

    def refused(self, error: ApplicationGroupsError) -> None:
        self.told += 1
        self.error = error


@pytest.fixture(scope="session")
def fakes() -> type:
    class Fakes:
        Channel = FakeChannel
        Interpreter = FakeInterpreter
        Ticket = FakeTicket

    return Fakes
