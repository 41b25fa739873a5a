"""Path -> mount: the longest prefix on a segment boundary, compared decoded, and the rest as it was written."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from random import Random
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncgroups.selection.mounts import Mount, MountTable, normalise_path

Mounting = Callable[..., Mount]


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("", ""),
        ("/", ""),
        ("///", ""),
        ("/foo", "/foo"),
        ("/foo/", "/foo"),
        ("//foo///bar//", "/foo/bar"),
        ("foo", "/foo"),
        ("/a b/é", "/a b/é"),
        ("/%2F", "/%2F"),
    ],
)
def test_normalise_path(path: str, normal: str) -> None:
    """A path has one spelling, whatever slashes it is written with, and ``/foo`` and ``/foo/`` are the same."""
    assert normalise_path(path) == normal


@given(st.text(st.sampled_from("/ab%é"), max_size=20))
def test_normalise_path_is_final(path: str) -> None:
    """A normal path stays as it is, keeps all segments of the path it was made of, and has no slash too many."""
    normal = normalise_path(path)
    assert normalise_path(normal) == normal
    assert [*filter(None, normal.split("/"))] == [*filter(None, path.split("/"))]
    assert "//" not in normal
    assert not normal.endswith("/")


@pytest.mark.parametrize(
    ("paths", "raw_path", "path", "rest"),
    [
        (["/shop"], b"/shop", "/shop", b""),
        (["/shop"], b"/shop/", "/shop", b"/"),
        (["/shop"], b"/shop/x", "/shop", b"/x"),
        (["/shop"], b"/shop//x", "/shop", b"//x"),
        (["/shop"], b"//shop/x", "/shop", b"/x"),
        (["/a/b"], b"/a//b/", "/a/b", b"/"),
        (["/shop"], b"/sh%6Fp/%6F%2F", "/shop", b"/%6F%2F"),
        (["/", "/shop"], b"/shops", "", b"/shops"),
        (["", "/a", "/a/b/c"], b"/a/b/d", "/a", b"/b/d"),
        (["", "/a", "/a/b/c"], b"/a/b/c/d", "/a/b/c", b"/d"),
        (["", "/a/b/c"], b"/a/b", "", b"/a/b"),
        (["", "/a/b"], b"/a%2Fb", "", b"/a%2Fb"),
        (["", "/a/b"], b"/a%2fb/", "", b"/a%2fb/"),
        (["/a b"], b"/a%20b/c", "/a b", b"/c"),
        (["/é"], b"/%C3%A9", "/é", b""),
        (["/é"], b"/%c3%a9/", "/é", b"/"),
        (["/é"], "/é/x".encode(), "/é", b"/x"),
        (["/%41"], b"/%2541", "/%41", b""),
        (["", "/%41"], b"/%41", "", b"/%41"),
        (["/a%zz"], b"/a%zz/x", "/a%zz", b"/x"),
        (["", "/a"], b"", "", b""),
        (["", "/a"], b"*", "", b"*"),
        (["", "/a"], b"a", "", b"a"),
        (["", "/example.com:443"], b"example.com:443", "", b"example.com:443"),
    ],
)
def test_match(mount: Mounting, paths: list[str], raw_path: bytes, path: str, rest: bytes) -> None:
    """The longest mount covers a path; boundaries are literal slashes, segments compared decoded, the rest is raw."""
    table = MountTable([mount(normalise_path(path)) for path in paths])
    match = table.match(raw_path)
    assert match is not None
    assert (match[0].path, match[1]) == (path, rest)


@pytest.mark.parametrize(
    "raw_path",
    [b"/shops", b"/sho", b"/Shop", b"/", b"", b"//", b"*", b"shop", b"/x/shop", b"/shop%2F", b"/shop%2Fx", b"/shop%00"],
)
def test_no_match(mount: Mounting, raw_path: bytes) -> None:
    """A path that has no mount's segments at its front is nobody's."""
    assert MountTable([mount("/shop")]).match(raw_path) is None


def test_empty_table() -> None:
    """A table without mounts covers nothing, the root included."""
    assert MountTable([]).match(b"/") is None


def test_one_path_twice(mount: Mounting) -> None:
    """Two mounts with one path are refused, and the message names where both of them stand."""
    with pytest.raises(ValueError, match=r"mount\[0\] and virtual_host\[1\]\.mount\[2\] have one path: /a/b") as caught:
        MountTable([mount("/a/b", place="mount[0]"), mount("/a/b", place="virtual_host[1].mount[2]")])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["/", "/a/", "a", "//a"])
def test_mount_path_is_normal(mount: Mounting, path: str) -> None:
    """A mount is not made with a path in a second spelling, since the group's name would have two as well."""
    with pytest.raises(ValueError, match=r"mount\[3\]: .* should be"):
        mount(path, place="mount[3]")


def test_mount_is_a_value(mount: Mounting) -> None:
    """Mounts that say the same are equal and hash alike, and none can be changed."""
    one, other = mount("/a", env={"X": "1"}), mount("/a", env={"X": "1"})
    assert one == other
    assert hash(one) == hash(other)
    assert one != mount("/a", env={"X": "2"})
    with pytest.raises(FrozenInstanceError):
        one.path = "/b"  # type: ignore[misc]


def test_table_shows_its_mounts(mount: Mounting) -> None:
    """A table gives its mounts back in the order of the configuration, and its repr lists their paths."""
    mounts = [mount("/b"), mount(""), mount("/a")]
    assert list(MountTable(mounts)) == mounts
    assert len(MountTable(mounts)) == 3
    assert repr(MountTable(mounts)) == "<MountTable: /b, /, /a>"


@pytest.mark.parametrize("raw_path", [b"/" * 100_000, b"/a" * 50_000, b"/" + b"%61" * 50_000, b"/%2F" * 50_000])
def test_long_path_costs_little(mount: Mounting, monkeypatch: pytest.MonkeyPatch, raw_path: bytes) -> None:
    """Of a path of any length no more segments are decoded than a mount has, and none that is longer than a mount's."""
    decoded: list[int] = []

    def decode(segment: bytes) -> bytes:
        decoded.append(len(segment))
        return unquote_to_bytes(segment)

    monkeypatch.setattr("asyncgroups.selection.prefixes.unquote_to_bytes", decode)
    MountTable([mount("/a/b/c")]).match(raw_path)
    assert len(decoded) <= 3
    assert all(length <= 3 for length in decoded)


# The oracle: every mount in turn, each against the whole path, in the plainest way there is.


def naive_match(mounts: list[Mount], raw_path: bytes) -> tuple[Mount, bytes] | None:
    best: tuple[Mount, bytes] | None = None
    for mount in sorted(mounts, key=lambda mount: mount.path.count("/")):
        wanted = mount.path.encode().split(b"/")[1:]
        for end in range(len(raw_path) + 1):
            if raw_path[:end].endswith(b"/") or raw_path[end : end + 1] not in {b"", b"/"}:
                continue
            if not raw_path.startswith(b"/"):
                continue
            if [unquote_to_bytes(part) for part in raw_path[:end].split(b"/") if part] == wanted:
                best = (mount, raw_path[end:])
        if not wanted:
            best = (mount, raw_path)
    return best


SEGMENT = st.sampled_from(["a", "b", "ab", "é", "%", "%41", "A", "a b", "."])
PATHS = st.lists(st.lists(SEGMENT, max_size=4).map(lambda parts: "".join(f"/{part}" for part in parts)), unique=True)


@st.composite
def raw_paths(draw: st.DrawFn) -> bytes:
    """Paths that often hit a mount: its alphabet, encoded in many ways, with slashes too many and encoded ones."""
    parts = draw(st.lists(st.tuples(st.sampled_from(["/", "//", "%2F", "/", "/"]), SEGMENT), max_size=6))
    written = []
    for slash, segment in parts:
        how = draw(st.integers(0, 2))
        escaped = "".join(f"%{byte:02x}" for byte in segment.encode())
        written += [slash, (segment, quote(segment, safe=""), escaped)[how]]
    return ("".join(written) + draw(st.sampled_from(["", "/", "//"]))).encode()


@given(PATHS, raw_paths())
@example(["/a", "/a/b"], b"/a/b//")
@example(["", "/%41"], b"/%2541/")
def test_trie_against_the_oracle(mount: Mounting, paths: list[str], raw_path: bytes) -> None:
    """The trie finds what trying every mount on every prefix finds."""
    mounts = [mount(path) for path in paths]
    assert MountTable(mounts).match(raw_path) == naive_match(mounts, raw_path)


@given(PATHS, st.binary(max_size=30))
def test_any_bytes(mount: Mounting, paths: list[str], raw_path: bytes) -> None:
    """Whatever a client sends, the answer is none, or a mount and the very end of what was sent."""
    match = MountTable([mount(path) for path in paths]).match(raw_path)
    assert match is None or raw_path.endswith(match[1])
    assert (match is None) <= ("" not in paths)


@given(PATHS, st.randoms(use_true_random=False), raw_paths())
def test_order_does_not_matter(mount: Mounting, paths: list[str], random: Random, raw_path: bytes) -> None:
    """The longest mount wins wherever it stands in the file."""
    shuffled = random.sample(paths, len(paths))
    assert MountTable(map(mount, paths)).match(raw_path) == MountTable(map(mount, shuffled)).match(raw_path)
