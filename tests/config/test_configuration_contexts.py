"""Server configuration, virtual host, mount: what is merged from them, and what they may not say together."""

import grp
import os
import pwd
import tomllib
from pathlib import Path

import pytest

from asyncgroups.config import Configuration, Mounted, from_mapping
from asyncgroups.errors import ConfigurationError
from asyncgroups.selection.mounts import Mount

MOUNT = '\n[[mount]]\npath = "{path}"\napp = "shop:application"\n'


def configured(tmp_path: Path, text: str) -> Configuration:
    return from_mapping(tomllib.loads(text), base=tmp_path, source="test")


def only(configuration: Configuration) -> Mount:
    (mounted,) = configuration.mounts()
    return mounted.mount


def at(configuration: Configuration, place: str) -> Mounted:
    (found,) = (mounted for mounted in configuration.mounts() if mounted.mount.place == place)
    return found


CONTEXTS = """
{server}
[[virtual_host]]
server_name = "www.example.com"
{host}
[[virtual_host.mount]]
path = "/shop"
app = "shop:application"
{mount}
"""


@pytest.mark.parametrize(
    ("server", "group", "host", "mount", "name", "threads"),
    [
        ("", "", "", "", "shop", 1),
        ("", "threads = 3", "", "", "shop", 3),
        ("threads = 2", "threads = 3", "", "", "shop", 3),
        ("threads = 2", "", "", "", "shop", 2),
        ("threads = 2", "threads = 3", "threads = 4", "", "shop", 4),
        ("threads = 2", "threads = 3", "threads = 4", "threads = 5", "shop", 5),
        ("threads = 2", "threads = 3", "", "", "%{GLOBAL}", 3),
        ("threads = 2", "", "", "", "%{GLOBAL}", 15),
    ],
)
def test_the_threads_of_a_process_group(
    server: str, group: str, host: str, mount: str, name: str, threads: int, tmp_path: Path
) -> None:
    """They are those of each of its application groups, over the server's; a mount and its virtual host know better."""
    text = CONTEXTS.format(server=server, host=host, mount=mount) + f'application_group = "{name}"\n'
    configuration = configured(tmp_path, text + f'process_group = "back"\n[process_group.back]\n{group}\n')
    assert only(configuration).settings.threads == threads
    assert configuration.process_groups["back"].threads == (3 if group else 15)


@pytest.mark.parametrize(
    ("key", "server", "host", "mount"),
    [
        ("application_group", '"server"', '"host"', '"mount"'),
        ("preload", "true", "false", "true"),
        ("threads", "2", "3", "4"),
        ("app_dir", '"server"', '"host"', '"mount"'),
        ("python_path", '["server"]', '["host"]', '["mount"]'),
    ],
)
def test_the_more_specific_context_overrides(key: str, server: str, host: str, mount: str, tmp_path: Path) -> None:
    """A mount's setting beats its virtual host's, and that one the server's."""

    def found(**contexts: str) -> object:
        lines = {name: f"{key} = {contexts[name]}" if name in contexts else "" for name in ("server", "host", "mount")}
        merged = only(configured(tmp_path, CONTEXTS.format(**lines)))
        value = getattr(merged.settings, key, None)
        return (
            str(merged.application_group) if key == "application_group" else merged.preload if value is None else value
        )

    def meant(written: str) -> object:
        (value,) = tomllib.loads(f"x = {written}").values()
        if key == "app_dir":
            return str(tmp_path / value)
        return tuple(str(tmp_path / item) for item in value) if key == "python_path" else value

    for folder in ("server", "host", "mount"):
        (tmp_path / folder).mkdir()
    assert found(server=server) == meant(server)
    assert found(server=server, host=host) == meant(host)
    assert found(server=server, host=host, mount=mount) == meant(mount)
    assert found(server=server, mount=mount) == meant(mount)


def test_variables_merge(tmp_path: Path) -> None:
    """Tables of variables add up, and the more specific context wins where two have one variable."""
    mount = only(
        configured(
            tmp_path,
            CONTEXTS.format(
                server='env = { A = "s", B = "s", C = "s" }\nprocess_env = { P = "s", Q = "s" }',
                host='env = { B = "h", C = "h" }\nprocess_env = { O = "h", Q = "h" }',
                mount='env = { C = "m", D = "m" }',
            ),
        )
    )
    assert mount.env == {"A": "s", "B": "h", "C": "m", "D": "m"}
    assert mount.settings.process_env == (("O", "h"), ("P", "s"), ("Q", "h"))


def test_an_empty_python_path_overrides(tmp_path: Path) -> None:
    """An empty list is a setting: it takes back what a wider context said."""
    text = 'python_path = ["."]' + MOUNT.format(path="/") + "python_path = []"
    assert only(configured(tmp_path, text)).settings.python_path == ()


def test_virtual_hosts_inherit_the_mounts_of_the_server(tmp_path: Path) -> None:
    """The server's mounts appear in each virtual host with its settings, unless one of its own covers them."""
    configuration = configured(
        tmp_path,
        """
        env.SITE = "server"
        [[mount]]
        path = "/static/admin"
        app = "admin:application"
        [[mount]]
        path = "/shop"
        app = "shop:application"
        application_group = "%{SERVER}"
        [[virtual_host]]
        server_name = "www.example.com"
        server_alias = ["*.example.com"]
        application_group = "host"
        env.SITE = "host"
        [[virtual_host.mount]]
        path = "/static"
        app = "static:application"
        [[virtual_host]]
        server_name = "blog.example.com"
        [[virtual_host.mount]]
        path = "/"
        app = "blog:application"
        """,
    )
    assert [(mounted.mount.place, mounted.inherited) for mounted in configuration.mounts()] == [
        ("mount[0]", False),
        ("mount[1]", False),
        ("virtual_host[0].mount[0]", False),
        ("mount[1] in virtual_host[0]", True),
        ("virtual_host[1].mount[0]", False),
    ]
    host, inherited, _ = at(configuration, "mount[1] in virtual_host[0]")
    assert (host.server_name, host.server_alias) == ("www.example.com", ("*.example.com",))
    assert str(inherited.application_group) == "%{SERVER}"
    assert inherited.env == {"SITE": "host"}
    assert at(configuration, "mount[1]").mount.env == {"SITE": "server"}
    assert str(at(configuration, "virtual_host[0].mount[0]").mount.application_group) == "host"


def test_mounts_of_one_group_agree_when_they_say_the_same(tmp_path: Path) -> None:
    """Mounts may share a literal group as long as all that the group has only once is the same."""
    text = "".join(
        MOUNT.format(path=path) + 'application_group = "shop"\nthreads = 2\nprocess_env.A = "1"\n'
        for path in ("/a", "/b")
    )
    first, second = configured(tmp_path, text).mounts()
    assert first.mount.settings == second.mount.settings


def test_groups_whose_names_are_not_literal_are_not_compared(tmp_path: Path) -> None:
    """Whether two mounts share a %{SERVER} or %{ENV:x} group is known only when requests come."""
    text = "".join(
        MOUNT.format(path=f"/{threads}") + f'application_group = "{name}"\nthreads = {threads}\n'
        for threads, name in enumerate(["%{SERVER}", "%{SERVER}", "%{ENV:x}", "%{ENV:x}"], start=1)
    )
    assert [mounted.mount.settings.threads for mounted in configured(tmp_path, text).mounts()] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["%{GLOBAL}", ""])
def test_the_main_interpreter_has_settings_of_its_own(name: str, tmp_path: Path) -> None:
    """What a wider context says about threads and os.environ is for other groups than GLOBAL."""
    text = (
        f"threads = 2\nprocess_env.A = '1'\nglobal.threads = 7\n{MOUNT.format(path='/')}application_group = '{name}'\n"
    )
    settings = only(configured(tmp_path, text)).settings
    assert (settings.threads, settings.process_env) == (7, ())
    assert settings.app_dir == str(tmp_path)


def test_the_main_interpreter_may_have_folders(tmp_path: Path) -> None:
    """A mount in GLOBAL may bring its own app_dir and python_path."""
    text = MOUNT.format(path="/") + 'application_group = "%{GLOBAL}"\napp_dir = "/"\npython_path = ["."]'
    settings = only(configured(tmp_path, text)).settings
    assert (settings.app_dir, settings.python_path) == ("/", (str(tmp_path),))


@pytest.mark.parametrize("key", ["threads", "process_env.A"])
def test_settings_beside_the_choice_of_global_are_errors(key: str, tmp_path: Path) -> None:
    """Where GLOBAL is chosen, or more specifically, threads and process_env would be ignored: that is an error."""
    value = "2" if key == "threads" else '"1"'
    text = f'application_group = "%{{GLOBAL}}"\n{key} = {value}\n{MOUNT.format(path="/")}'
    with pytest.raises(ConfigurationError, match=r"^test: 1 error\n" + key.partition(".")[0]):
        configured(tmp_path, text)


GROUPS = "".join(
    MOUNT.format(path=f"/{at}") + f'application_group = "{name}"\n'
    for at, name in enumerate(["a", "b", "c", "c", "%{GLOBAL}", "%{SERVER}", "%{ENV:WHICH}"])
)


def test_as_many_groups_as_there_may_be(tmp_path: Path) -> None:
    """Literal names count once each, GLOBAL and those that the request decides not at all."""
    assert len(configured(tmp_path, "[limits]\ngroups = 3\n" + GROUPS).mounts()) == 7
    with pytest.raises(ConfigurationError) as caught:
        configured(tmp_path, "[limits]\ngroups = 2\n" + GROUPS)
    sentence = "limits.groups: 2 is less than the 3 application groups that mounts name: 'a', 'b', 'c'"
    assert caught.value.problems == (sentence,)
    with pytest.raises(ConfigurationError, match=r"^test: 1 error\nlimits\.groups: must be"):
        configured(tmp_path, "[limits]\ngroups = 0\n" + GROUPS)


def test_one_error_does_not_bring_about_another(tmp_path: Path) -> None:
    """A value that was refused takes part in no comparison, and the numbers of the mounts stay those of the file."""
    text = (
        '[[mount]]\npath = "wrong"\napp = "shop:application"\n'
        + MOUNT.format(path="/a") + 'application_group = "shop"\nthreads = "four"\n'
        + MOUNT.format(path="/b") + 'application_group = "shop"\nthreads = 2\napp_dir = "nowhere"\n'
        + MOUNT.format(path="/c") + 'application_group = "%{WRONG}"\nthreads = 3\n'
    )  # fmt: skip
    with pytest.raises(ConfigurationError) as caught:
        configured(tmp_path, text)
    places = [problem.partition(":")[0] for problem in caught.value.problems]
    assert places[:3] == ["mount[0].path", "mount[1].threads", "mount[3].application_group"]
    assert places[3:] == ["mount[2].app_dir", "mount[2].app_dir"]  # no such folder; not the folder of the group


def test_the_selection_chooses_as_configured(tmp_path: Path) -> None:
    """The configuration's selection routes by host and path and expands names with the matched host's server name."""
    selection = configured(
        tmp_path,
        """
        server_name = "www.example.com"
        [[mount]]
        path = "/shop"
        app = "shop:application"
        [[virtual_host]]
        server_name = "blog.example.com:8080"
        application_group = "%{ENV:SITE}"
        [[virtual_host.mount]]
        path = "/"
        app = "blog:application"
        """,
    ).selection({"SITE": "from the process"})
    choice = selection.choose(host=b"www.example.com", port=80, raw_path=b"/shop/cart", env=None)
    assert (choice.application_group, choice.mount.application) == ("www.example.com|/shop", "shop:application")
    choice = selection.choose(host=b"blog.example.com", port=8080, raw_path=b"/", env=None)
    assert (choice.application_group, choice.mount.application) == ("from the process", "blog:application")


def test_the_groups_of_a_user(tmp_path: Path) -> None:
    """A group that is given stands in place of the user's own, which its processes are not in then (initgroups(3))."""
    user = pwd.getpwuid(os.getuid())
    other = next(one for one in grp.getgrall() if one.gr_gid != user.pw_gid and user.pw_name not in one.gr_mem)
    text = f'[process_group.back]\nuser = "{user.pw_uid}"\ngroup = "{other.gr_name}"\n' + MOUNT.format(path="/")
    settings = configured(tmp_path, text).process_groups["back"]
    assert (settings.user, settings.group) == (user.pw_uid, other.gr_gid)
    assert settings.groups is not None
    assert sorted(settings.groups) == sorted(os.getgrouplist(user.pw_name, other.gr_gid))
