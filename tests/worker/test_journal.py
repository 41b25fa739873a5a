"""Lines that an application prints, on their way to the log."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncgroups.wire import messages
from asyncgroups.wire.channel import Channel, pair
from asyncgroups.worker.journal import ERROR, INFO, Journal, LineStream


class Kept:
    """A journal that keeps its records."""

    def __init__(self) -> None:
        self.records: list[str] = []

    def record(self, level: int, text: str) -> None:
        assert level == INFO
        self.records.append(text)


@given(st.lists(st.text("ab\n", max_size=6), max_size=10))
def test_lines_become_records(texts: list[str]) -> None:
    """Every character arrives once, in its order; records end where lines end; the unfinished waits for flush."""
    kept = Kept()
    stream = LineStream(kept, INFO, "<stdout>")
    for text in texts:
        assert stream.write(text) == len(text)
    whole = "".join(texts)
    finished, newline, rest = whole.rpartition("\n")
    assert "\n".join(kept.records) == finished
    assert len(kept.records) <= sum("\n" in text for text in texts)
    stream.flush()
    assert kept.records[len(kept.records) - bool(rest) :] == ([rest] if rest else [])
    stream.flush()
    assert "\n".join(kept.records) == finished + (newline if rest else "") + rest


def test_a_traceback_is_one_record() -> None:
    """Lines that one call writes stay together."""
    kept = Kept()
    stream = LineStream(kept, INFO, "<stdout>")
    stream.writelines(["Traceback:\n", "  line 1\n", "Oops\n"])
    assert kept.records == ["Traceback:\n  line 1\nOops"]


def test_a_line_without_end_is_cut() -> None:
    """A line that never ends does not fill the memory: it goes out in pieces, and no character is lost."""
    kept = Kept()
    stream = LineStream(kept, INFO, "<stdout>")
    for _ in range(100):
        stream.write("x" * 4096)
    stream.flush()
    assert "".join(kept.records) == "x" * 409_600
    assert 3 < len(kept.records) < 20


def test_each_thread_has_a_line_of_its_own() -> None:
    """Halves of lines that two threads write at the same time are never joined to one."""
    kept = Kept()
    stream = LineStream(kept, INFO, "<stdout>")
    meeting = threading.Barrier(2, timeout=20)

    def write(name: str) -> None:
        stream.write(name)
        meeting.wait()
        stream.write(name + "\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(kept.records) == ["aa", "bb"]


@pytest.mark.parametrize("wrong", [b"bytes", None, 5])
def test_only_text(wrong: object) -> None:
    """Bytes are a TypeError, as for every text stream (PEP 3333)."""
    with pytest.raises(TypeError):
        LineStream(Kept(), INFO, "<stdout>").write(wrong)


def test_a_stream_that_programs_can_ask() -> None:
    """It answers what libraries ask of ``sys.stderr``, stays open when it is closed, and prints as a stream does."""
    kept = Kept()
    stream = LineStream(kept, INFO, "<stdout>")
    assert (stream.isatty(), stream.readable(), stream.writable(), stream.seekable()) == (False, False, True, False)
    assert (stream.encoding, stream.errors, stream.closed) == ("utf-8", "backslashreplace", False)
    with pytest.raises(OSError, match="descriptor"):
        stream.fileno()
    print("a", "b", file=stream)
    with stream:
        stream.write("c")
    stream.close()
    stream.write("d\n")
    assert kept.records == ["a b", "c", "d"]
    assert repr(stream) == "<LineStream <stdout>>"


def test_a_record_names_its_exchange() -> None:
    """A record carries the number of the exchange that its thread is busy with, 0 for every other thread."""
    front, descriptor = pair()
    worker = Channel(descriptor, blocking=True)
    journal = Journal(worker)
    journal.exchanges[threading.get_ident()] = 42
    journal.record(ERROR, "here")
    thread = threading.Thread(target=journal.record, args=(INFO, "there \ud800"))
    thread.start()
    thread.join(20)
    found = []
    while (frame := front.receive_nowait()) is not None:
        found.append(messages.parse_record(frame[1]))
    assert [(one.level, one.exchange, one.text) for one in found] == [(ERROR, 42, "here"), (INFO, 0, "there \\ud800")]
    front.close()
    worker.close()


def test_when_nobody_listens_any_more() -> None:
    """With the front end gone a print does nothing, and raises nothing into the application."""
    front, descriptor = pair()
    worker = Channel(descriptor, blocking=True)
    front.close()
    stream = LineStream(Journal(worker), INFO, "<stdout>")
    for _ in range(3):
        stream.write("lost\n")
    worker.close()
    stream.write("lost\n")


def test_a_finaliser_may_print_while_its_thread_writes() -> None:
    """A record that is made in the middle of another one, by a finaliser, does not wait for its own thread for ever."""
    front, descriptor = pair()
    worker = Channel(descriptor, blocking=True)
    journal = Journal(worker)

    def write() -> None:
        with journal.outlets[0]._lock:
            journal.record(INFO, "from within")

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    front.close()
    worker.close()
