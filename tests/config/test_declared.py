"""The configuration written in Python: the same as a file's, checked by the same rules, in its own words."""

import dataclasses
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
import pytest

from asyncgroups.config import (
    AliasArguments,
    Arguments,
    ConditionArguments,
    Configuration,
    DirectoryArguments,
    Document,
    LimitArguments,
    Mount,
    Options,
    ProcessGroupArguments,
    RewriteArguments,
    TimeoutArguments,
    UserdirArguments,
    VirtualHost,
    declared,
    from_mapping,
    schema,
)
from asyncgroups.config.model import (
    PROCESS_GROUPS,
    AliasSection,
    ConditionSection,
    DirectorySection,
    GlobalSection,
    Limits,
    MountSection,
    ProcessGroupSection,
    RewriteSection,
    Section,
    Timeouts,
    UserdirSection,
    VirtualHostSection,
)
from asyncgroups.config.values import LOG_LEVELS
from asyncgroups.config.words import ARRAYS
from asyncgroups.errors import ConfigurationError

SOURCE = "ApplicationGroups(...)"


def as_written(arguments: object) -> str:
    """A test's name that is the same in every process: without addresses."""
    return re.sub(" at 0x[0-9a-f]+", "", ascii(arguments))


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    raise NotImplementedError


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    raise NotImplementedError


class Site:
    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        raise NotImplementedError


class Asynchronous:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError


def made(**arguments: Any) -> Configuration:
    return declared(arguments, source=SOURCE)


def problems(configure: Callable[[], Configuration]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        configure()
    return list(caught.value.problems)


def keys(section: type[Section]) -> set[str]:
    return {field.alias or name for name, field in section.model_fields.items()}


def fields(kind: type[Any]) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


SERVERS_OWN = {"bind", "certfile", "keyfile", "keyfile_password", "ca_certs"}
NOT_FOR_ONE = {
    "mounts", "virtual_hosts", "aliases", "userdir", "document_root", "directories", "follow_symlinks"
}  # fmt: skip  # what leads to further applications


def in_python(names: set[str]) -> set[str]:
    return {ARRAYS.get(name, name) for name in names}


@pytest.mark.parametrize(
    ("python", "file"),
    [
        (
            set(Arguments.__annotations__),
            in_python(keys(Document) - SERVERS_OWN - {"global", PROCESS_GROUPS})
            | {"process_groups"}
            | {f"global_{key}" for key in keys(GlobalSection)},
        ),
        (set(Options.__annotations__), set(Arguments.__annotations__) - NOT_FOR_ONE),
        (fields(Mount), keys(MountSection)),
        (fields(VirtualHost), in_python(keys(VirtualHostSection))),
        (set(AliasArguments.__annotations__), keys(AliasSection)),
        (set(UserdirArguments.__annotations__), keys(UserdirSection)),
        (set(DirectoryArguments.__annotations__), keys(DirectorySection)),
        (set(RewriteArguments.__annotations__), keys(RewriteSection)),
        (set(ConditionArguments.__annotations__), keys(ConditionSection)),
        (set(ProcessGroupArguments.__annotations__), keys(ProcessGroupSection)),
        (set(LimitArguments.__annotations__), keys(Limits)),
        (set(TimeoutArguments.__annotations__), keys(Timeouts)),
    ],
    ids=[
        "arguments",
        "single",
        "Mount",
        "VirtualHost",
        "aliases",
        "userdir",
        "directories",
        "rewrites",
        "condition",
        "process_groups",
        "limits",
        "timeouts",
    ],
)
def test_every_key_of_a_file_has_its_argument(python: set[str], file: set[str]) -> None:
    """What a file can say Python can, under the same name, but for what is the outer server's."""
    assert python == file


FILE = """
server_name = "www.example.com"
app_dir = "site"
python_path = ["lib", "/"]
application_group = "%{SERVER}"
isolation = "process"
threads = 2
preload = true
log_level = "debug"
env = { SITE = "main" }
process_env = { A = "b" }
global.threads = 3
limits = { groups = 20, backlog = 7, request_body = "1 KiB" }
timeouts = { startup = 1, queue = 2.5, request = 3, interrupt = 4, graceful = 0 }

[process_group."back office"]
processes = 2
sticky = "header:X-User"
home = "site"
python_path = ["lib"]
process_env = { B = "c" }
[process_group.other]

[[mount]]
path = "/shop"
app = "shop.wsgi:application"
application_group = "shop"
threads = 4
env = { SITE = "shop" }

[[virtual_host]]
server_name = "blog.example.com:8080"
server_alias = ["*.blog.example.com"]
application_group = "blog"
process_group = "back office"
isolation = "interpreter"
preload = false
[[virtual_host.mount]]
path = "/"
app = "blog:app"
app_dir = "lib"
python_path = []
"""


def test_python_says_what_a_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both give one and the same configuration, with paths from the working directory."""
    for folder in ("lib", "site"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    python = made(
        mounts=(
            one
            for one in [
                Mount("/shop", "shop.wsgi:application", application_group="shop", threads=4, env={"SITE": "shop"})
            ]
        ),
        virtual_hosts=(
            VirtualHost(
                "blog.example.com:8080",
                server_alias=("*.blog.example.com",),
                application_group="blog",
                process_group="back office",
                isolation="interpreter",
                preload=False,
                mounts=[Mount("/", "blog:app", app_dir=Path("lib"), python_path=())],
            ),
        ),
        server_name="www.example.com",
        app_dir=Path("site"),
        python_path=["lib", Path("/")],
        application_group="%{SERVER}",
        process_group="",
        isolation="process",
        threads=2,
        preload=True,
        log_level="debug",
        env={"SITE": "main"},
        process_env={"A": "b"},
        global_threads=3,
        process_groups={
            "back office": {
                "processes": 2,
                "sticky": "header:X-User",
                "home": Path("site"),
                "python_path": ["lib"],
                "process_env": {"B": "c"},
            },
            "other": {},
        },
        limits={"groups": 20, "backlog": 7, "request_body": "1 KiB"},
        timeouts={"startup": 1, "queue": 2.5, "request": 3, "interrupt": 4, "graceful": 0},
    )
    file = from_mapping(tomllib.loads(FILE), base=tmp_path, source=SOURCE)

    def told(configuration: Configuration) -> list[Any]:
        everything = [
            [
                (host.server_name, host.server_alias, mount.path, mount.application, mount.application_group),
                (mount.preload, mount.process_group, dict(mount.env), mount.settings, inherited),
            ]
            for host, mount, inherited in configuration.mounts()
        ]
        names = ("global_threads", "log_level", "limits", "timeouts", "source", "process_groups")
        return [everything, [getattr(configuration, name) for name in names]]

    assert told(python) == told(file)
    assert len(python.mounts()) == 2


NOTHING = "nothing is mounted; give mounts=[Mount(path, app)]"
NO_APPLICATION = 'must be an import string such as "shop.wsgi:application", or a callable object'
THREADS_OF_GLOBAL = "a mount in %{GLOBAL} has the threads of the main interpreter"
FINE = [Mount("/", "shop:application")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, NOTHING),
        ({"mounts": Mount("/", "a:b")}, "mounts: must be a list of Mount objects"),
        ({"mounts": "a:b"}, "mounts: must be a list of Mount objects"),
        ({"mounts": [{"path": "/", "app": "a:b"}]}, "mounts[0]: must be a Mount"),
        ({"mounts": [*FINE, VirtualHost("a")]}, "mounts[1]: must be a Mount"),
        ({"mounts": FINE, "virtual_hosts": FINE}, "virtual_hosts[0]: must be a VirtualHost"),
        ({"mounts": FINE, "virtual_hosts": 5}, "virtual_hosts: must be a list of VirtualHost objects"),
        (
            {"mounts": [*FINE, Mount("/x", "a:b", threads=0)]},
            "mounts[1].threads: must be a whole number from 1 to 1000, not 0",
        ),
        ({"mounts": FINE, "threads": 1001}, "threads: must be a whole number from 1 to 1000, not 1001"),
        (
            {"virtual_hosts": [VirtualHost("a", mounts=[*FINE, Mount("/x", "a.b")])]},
            'virtual_hosts[0].mounts[1].app: must be "module:attribute", not \'a.b\'; did you mean "a.b:application"?',
        ),
        (
            {"mounts": [Mount("/")]},
            "mounts[0].app: is missing",
        ),
        ({"mounts": FINE, "limits": {"gruops": 1}}, "limits.gruops: unknown key; did you mean groups?"),
        ({"mounts": FINE, "limits": 5}, "limits: must be a dict, not 5"),
        (
            {"mounts": FINE, "timeouts": {"queue": -1}},
            "timeouts.queue: must be a number of seconds from 0 to 31536000 (a year), not -1",
        ),
        ({"mounts": FINE, "threats": 1}, "threats: unknown argument; did you mean threads?"),
        ({"mounts": FINE, "mount": []}, "mount: unknown argument; did you mean mounts?"),
        ({"mounts": FINE, "global": {}}, "global: unknown argument; did you mean global_threads?"),
        *(
            ({"mounts": FINE, key: "x"}, f"{key}: belongs to the server around this application: give it there")
            for key in sorted(SERVERS_OWN)
        ),
        (
            {"mounts": FINE, "global_threads": 2**64},
            f"global_threads: must be a whole number from 1 to 1000, not {2**64}",
        ),
        ({"mounts": FINE, "env": {"mount": 5}}, 'env.mount: must be a string, not 5; write it in quotes: "5"'),
        ({"mounts": FINE, "python_path": "lib"}, "python_path: must be a list of strings, not 'lib'; write ['lib']"),
        (
            {"mounts": [Mount("/", "a:b", application_group="%{GLOBAL}", threads=4)]},
            f"mounts[0].threads: {THREADS_OF_GLOBAL}; set them with global_threads",
        ),
        (
            {
                "mounts": [
                    Mount("/a", "a:b", application_group="x", threads=2),
                    Mount("/b", "a:b", application_group="x"),
                ]
            },
            "mounts[1].threads: 1 (the default) here, but 2 for mounts[0], in one and the same application group 'x'",
        ),
        ({"mounts": FINE, "limits": {1: 2}}, "limits[1]: a key must be a string"),
        ({"mounts": FINE, "env": {1: "x"}}, "env[1]: must be a string, not 1"),
        # what cannot be encoded
        ({"mounts": FINE, "env": {"A": "\ud800"}}, "env.A: must not hold a lone surrogate, U+D800"),
        ({"mounts": FINE, "process_env": {"A": "x\udfff"}}, "process_env.A: must not hold a lone surrogate, U+DFFF"),
        ({"mounts": FINE, "app_dir": "\ud800"}, "app_dir: must not hold a lone surrogate, U+D800"),
        ({"mounts": FINE, "python_path": ["\ud800"]}, "python_path[0]: must not hold a lone surrogate, U+D800"),
        ({"mounts": [Mount("/\ud800", "a:b")]}, "mounts[0].path: '/\\ud800' holds a lone surrogate"),
        ({"mounts": [Mount("/\udcff", "a:b")]}, "mounts[0].path: '/\\udcff' holds a lone surrogate"),
        ({"mounts": FINE, "preload": "yes"}, "preload: must be True or False, not 'yes'"),
        ({"mounts": FINE, "log_level": True}, f"log_level: must be one of {', '.join(LOG_LEVELS)}, not True"),
        ({"mounts": FINE, "env": {"A": True}}, 'env.A: must be a string, not True; write it in quotes: "True"'),
        ({"mounts": FINE, "timeouts": False}, "timeouts: must be a dict, not False"),
        ({"mounts": [*FINE, *FINE]}, "mounts[1].path: '/' is the path of mounts[0] already"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_errors_in_the_words_of_python(arguments: dict[str, Any], expected: str) -> None:
    """A wrong argument is told with its place as it is written in the call."""
    assert problems(lambda: made(**arguments)) == [expected]


class Hostile:
    def __init__(self, text: str | None = None) -> None:
        self.text = text

    def __str__(self) -> str:
        if self.text is None:
            raise LookupError
        return self.text


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Hostile(), "an object of type Hostile"),
        (Hostile("a\nb\x1b[2J\u202e"), r"a\nb\x1b[2J\u202e"),
        (Hostile("x" * 10**6), "x" * 59 + "…"),
        (Hostile("\n" * 10**6), (r"\n" * 30)[:59] + "…"),
    ],
    ids=["raises", "controls", "long", "long controls"],
)
def test_an_object_that_is_hard_to_show(value: Hostile, told: str) -> None:
    """A message has one line, of printable characters, and an end, whatever the object says of itself."""
    for arguments in ({"threads": value}, {"app_dir": value}, {"env": {"A": value}}, {"python_path": [value]}):
        (problem,) = problems(lambda arguments=arguments: made(mounts=FINE, **arguments))  # type: ignore[misc]
        assert problem.endswith(f", not {told}")


def test_what_raises_when_it_is_gone_through() -> None:
    """It is a problem like others, with its place."""

    class Raising(dict[str, str]):
        def keys(self) -> Any:
            raise LookupError

        __iter__ = keys

    def raising() -> Any:
        yield FINE[0]
        raise ZeroDivisionError

    host = VirtualHost("a", mounts=raising(), server_alias=raising())
    assert problems(lambda: made(mounts=raising(), virtual_hosts=[host], python_path=raising(), env=Raising())) == [
        "env: must be a dict, not one that raises LookupError",
        "python_path: must be a list of strings, not one that raises ZeroDivisionError",
        "mounts: must be a list of Mount objects, not one that raises ZeroDivisionError",
        "virtual_hosts[0].mounts: must be a list of Mount objects, not one that raises ZeroDivisionError",
        "virtual_hosts[0].server_alias: must be a list of strings, not one that raises ZeroDivisionError",
    ]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    """Unknown arguments, wrong values and rules that are broken, in one error, which names the call."""
    mounts = [Mount("x", "a:b"), Mount("/", wsgi), Mount("/g", "a:b", application_group="%{GLOBAL}", threads=2)]
    with pytest.raises(ConfigurationError) as caught:
        made(mounts=mounts, bind=[], threads="4")
    places = [problem.partition(":")[0] for problem in caught.value.problems]
    assert sorted(places) == ["bind", "mounts[0].path", "mounts[1].app", "mounts[2].threads", "threads"]
    assert str(caught.value).startswith("ApplicationGroups(...): 5 errors\n")


def test_the_one_application_of_single_is_not_called_a_mount() -> None:
    """Its places are the arguments that were written."""

    def single(app: Any, **options: Any) -> list[str]:
        return problems(lambda: declared(options, source="x", single=Mount("/", app)))

    assert single("shop")[0].startswith('app: must be "module:attribute"')
    assert single("a:b", application_group="%{GLOBAL}", threads=4)[0].startswith("threads: a mount in %{GLOBAL}")
    for name in ("mounts", "virtual_hosts"):
        assert single("a:b", **{name: []}) == [
            f"{name}: unknown argument; single() is about one application: write ApplicationGroups({name}=[...])"
        ]
    assert single("shop.py")[0].endswith('did you mean "shop:application"?')


def test_names_of_unknown_arguments() -> None:
    """They come in the order of the call, one short line each, whatever is in them."""
    names = ["threats", "a\nb\x1b[2J", "k" * 100_000]
    assert [problem.partition(": ")[0] for problem in problems(lambda: made(mounts=FINE, **dict.fromkeys(names)))] == [
        "threats",
        r'"a\nb\x1b[2J"',
        f'"{"k" * 59}…"',
    ]


# Callable objects -----------------------------------------------------------------------------------------------------

GLOBAL = {"application_group": "%{GLOBAL}"}
REFUSED = (
    "a callable object lives in the main interpreter, which runs the application group %{GLOBAL} alone; give an import"
    " string such as 'shop.wsgi:application', which each interpreter imports for itself"
)


@pytest.mark.parametrize(
    "arguments",
    [
        {"mounts": [Mount("/", wsgi)]},
        {"mounts": [Mount("/", wsgi, application_group="shop")]},
        {"mounts": [Mount("/", wsgi, application_group="%{SERVER}")], **GLOBAL},
        {"mounts": [Mount("/", wsgi, application_group="%{ENV:WHICH}")]},
        {"mounts": [Mount("/", wsgi)], "virtual_hosts": [VirtualHost("a", **GLOBAL)]},
        {"mounts": [Mount("/", wsgi)], "virtual_hosts": [VirtualHost("a", application_group="x")], **GLOBAL},
    ],
    ids=as_written,
)
def test_a_callable_object_elsewhere(arguments: dict[str, Any]) -> None:
    """Outside of GLOBAL, also where only a virtual host that inherits the mount is outside, it is refused, once."""
    assert problems(lambda: made(**arguments)) == [f"mounts[0].app: {REFUSED}"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"mounts": [Mount("/", wsgi, **GLOBAL)]},  # type: ignore[arg-type]
        {"mounts": [Mount("/", wsgi, application_group="")]},
        {"mounts": [Mount("/", wsgi)], **GLOBAL},
        {
            "mounts": [Mount("/", wsgi)],
            "virtual_hosts": [VirtualHost("a", mounts=[Mount("/", "a:b", application_group="x")])],
        }
        | GLOBAL,
    ],
    ids=as_written,
)
def test_a_callable_object_in_global(arguments: dict[str, Any]) -> None:
    """Wherever the literal %{GLOBAL} was written, it is accepted."""
    configuration = made(**arguments)
    (name,) = configuration.applications
    assert configuration.applications[name] is wsgi
    assert name in {mount.application for _, mount, _ in configuration.mounts()}


def test_names_of_callable_objects() -> None:
    """They can be read, differ, are no import strings, and hold nothing that cannot cross."""
    strange = type("Strange", (), {"__call__": lambda *_: [], "__qualname__": "a\0b\n"})()
    apps = [wsgi, wsgi, Site(), Site, strange, str.upper]
    configuration = made(mounts=[Mount(f"/{at}", app) for at, app in enumerate(apps)], **GLOBAL)  # type: ignore[arg-type]
    module = __name__
    assert list(configuration.applications) == [
        f"<{module}.wsgi: mounts[0].app>",
        f"<{module}.wsgi: mounts[1].app>",
        f"<{module}.Site: mounts[2].app>",
        f"<{module}.Site: mounts[3].app>",
        "<object: mounts[4].app>",
        "<None.str.upper: mounts[5].app>",
    ]
    for name, app in zip(configuration.applications, apps, strict=True):
        assert configuration.applications[name] is app
        refused = {"mount": [{"path": "/", "app": name, "application_group": "%{GLOBAL}"}]}
        (problem,) = problems(lambda refused=refused: from_mapping(refused, base=Path("/"), source="x"))  # type: ignore[misc]
        assert "two dotted names" in problem


@pytest.mark.parametrize("app", [asgi, Asynchronous()], ids=["function", "object"])
def test_an_asgi_application_is_no_wsgi_application(app: Any) -> None:
    """It is refused with what to do, before it answers its first request with nonsense."""
    (problem,) = problems(lambda: made(mounts=[Mount("/", app)], **GLOBAL))
    assert problem.startswith("mounts[0].app: is asynchronous, no WSGI application")


class Unbound:
    """As Flask's current_app outside of a request, and Django's lazy objects before the settings."""

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        raise NotImplementedError

    def __getattribute__(self, name: str) -> Any:
        raise LookupError("not yet")


@pytest.mark.parametrize("make", [Unbound, lambda: flask.current_app], ids=["unbound", "flask"])
def test_a_proxy_without_its_object(make: Any) -> None:
    """It is refused with a sentence, not with the proxy's own exception."""
    (problem,) = problems(lambda: made(mounts=[Mount("/", make())], **GLOBAL))
    assert re.fullmatch(r"mounts\[0\].app: is a \w+ that has no application behind it yet \(\w+\)", problem)


def test_bytes_that_are_no_utf_8() -> None:
    """As the command line and the environment have them, they are let through."""
    (mounted,) = made(mounts=FINE, env={"A": "\udcff"}, process_env={"B": "\udcff"}).mounts()
    assert dict(mounted.mount.env) == {"A": "\udcff"}
    assert mounted.mount.settings.process_env == (("B", "\udcff"),)


def test_iterables_that_end() -> None:
    """A section that was written with generators is the same in each configuration it is part of."""
    mount = Mount("/", "a:b", python_path=(folder for folder in [Path("/")]))  # type: ignore[arg-type]
    host = VirtualHost("a", server_alias=(name for name in ["b", "c"]), mounts=(one for one in [mount]))  # type: ignore[arg-type]
    for _ in range(2):
        (found,) = made(mounts=FINE, virtual_hosts=[host]).virtual_hosts
        assert found.server_alias == ("b", "c")
        assert [(one.application, one.settings.python_path) for one in found.mounts] == [("a:b", ("/",))]


def test_the_schema_knows_no_callable_objects() -> None:
    """The JSON schema of a file says that an application is a string."""
    found = schema()
    assert json.dumps(found)
    assert found["definitions"]["MountSection"]["properties"]["app"]["type"] == "string"


def test_variables_are_not_shown() -> None:
    """The values of environment variables are where people keep their passwords: no repr has them."""
    secret = {"env": {"A": "secret"}, "process_env": {"B": "secret"}}
    assert "secret" not in repr([Mount("/", "a:b", **secret), VirtualHost("a", **secret)])
    configuration = made(mounts=[Mount("/", "a:b", **secret)], virtual_hosts=[VirtualHost("a", **secret)])
    choice = configuration.selection({}).choose(host=None, port=None, raw_path=b"/", env={"C": "secret"})
    assert repr(choice) == "<Choice: a:b at / in 'localhost|'>"
    assert "secret" not in repr([configuration, configuration.mounts(), choice.mount, choice.mount.settings, choice])
    for value in (b"secret", ["secret"], "secret", {"PIN": b"secret"}):
        assert "secret" not in str(problems(lambda value=value: made(mounts=FINE, process_env=value)))  # type: ignore[misc]
