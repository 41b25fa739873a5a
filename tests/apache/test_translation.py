"""Apache's statements in our words: what each becomes, and that none is dropped silently."""

import re
import subprocess
from pathlib import Path

import pytest

from asyncgroups.apache.reading import read
from asyncgroups.apache.rules import KNOWN
from asyncgroups.apache.translation import Translation, translate
from asyncgroups.apache.words import FILES, MEANINGS, NEUTRAL, NO_COUNTERPART
from asyncgroups.selection import rewrite
from tests.oracle import apache


@pytest.fixture
def translated(tmp_path: Path):
    def translated(text: str) -> Translation:
        (tmp_path / "httpd.conf").write_text(text, errors="surrogateescape")
        return translate(read(tmp_path / "httpd.conf"))

    return translated


DIRECTORY = "<Directory /srv>\n{}\n</Directory>\n"
RUNS = {"path": "/srv", "handler": "wsgi-script"}
NONE = {"path": "/srv", "handler": "none"}
ROOT = {"path": "/", "handler": "wsgi-script"}
SCRIPTS_ON = "Options +ExecCGI\nSetHandler wsgi-script"
SCRIPTS = DIRECTORY.format(SCRIPTS_ON)
SCRIPTS_THERE = {"directory": [RUNS]}
MACRO = """\
<Macro App $name $n %to>
    WSGIScriptAlias /$name %to/$name.wsgi application-group=g$n
</Macro>
Use App a 1 /srv
USE app 'b' 2 /srv
UndefMacro App
"""
NO_LINKS = {"follow_symlinks": False}
RULES = "RewriteEngine On\n"
DAEMON = """\
WSGIDaemonProcess a processes=2 threads=5 user=u group=g umask=0027 home=/h python-path=/a:/b python-home=/v/ \\
    display-name=%{GROUP} maximum-requests=9 restart-interval=8 inactivity-timeout=7 request-timeout=6 \\
    graceful-timeout=5 shutdown-timeout=4 startup-timeout=3 cpu-priority=-2 memory-limit=1000 lang=C locale=C.UTF-8
WSGIProcessGroup a
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Listen 8000\nListen 127.0.0.1:1\nListen [::1]:2", {"bind": ["0.0.0.0:8000", "127.0.0.1:1", "[::1]:2"]}),
        ("Listen *:8000", {"bind": ["0.0.0.0:8000"]}),
        ("ServerName www.example.com:8080", {"server_name": "www.example.com:8080"}),
        ("ServerName https://www.example.com", {"server_name": "www.example.com"}),
        ("SetEnv A b\nSetEnv C\nSetEnv D 'e f'", {"env": {"A": "b", "C": "", "D": "e f"}}),
        ("WSGIApplicationGroup %{GLOBAL}", {"application_group": "%{GLOBAL}"}),
        ("WSGICallableObject app", {"callable": "app"}),
        ("WSGIScriptReloading Off", {"script_reloading": False}),
        ("WSGIPythonPath /a:/b", {"python_path": ["/a", "/b"]}),
        ("WSGIPassAuthorization On", {}),
        ("UserDir /home/*/public_html /users", {"userdir": {"path": ["/home/*/public_html", "/users"]}}),
        ("UserDir disabled root\nUserDir enabled a b", {"userdir": {"disabled": ["root"], "enabled": ["a", "b"]}}),
        ("UserDir disabled", {"userdir": {"enabled": []}}),
        ("WSGIScriptAlias /x/ /srv/x.wsgi", {"mount": [{"path": "/x", "script": "/srv/x.wsgi"}]}),
        ("WSGIScriptAlias / /srv/x.wsgi", {"mount": [{"path": "/", "script": "/srv/x.wsgi"}]}),
        ("DocumentRoot /htdocs\nWSGIScriptAlias / /x.wsgi", {"mount": [{"path": "/", "script": "/x.wsgi"}]}),
        (
            "WSGIScriptAlias /x /x process-group=a application-group=b callable-object=c pass-authorization=On",
            {
                "mount": [
                    {"path": "/x", "script": "/x", "process_group": "a", "application_group": "b", "callable": "c"},
                ]
            },
        ),
        (
            "WSGIScriptAliasMatch ^/s/([^/]+) /srv/$1/app.wsgi",
            {"mount": [{"match": "^/s/([^/]+)", "script": r"/srv/\1/app.wsgi"}]},
        ),
        ("WSGIScriptAlias /s/ /srv/code.py/", {"mount": [{"path": "/s", "script": "/srv/code.py"}]}),
        (
            "WSGIScriptAliasMatch ^/c/([^/]+)(/.*)?$ /srv/$1.wsgi$2",
            {"mount": [{"match": "^/c/([^/]+)(?=/|$)", "script": r"/srv/\1.wsgi"}]},
        ),
        ("SetEnv A ${X:y}", {"env": {"A": "${X:y}"}}),
        (
            RULES + 'RewriteCond %{QUERY_STRING} =""\nRewriteCond %{QUERY_STRING} !\nRewriteRule "" - [E=A:1]',
            {
                "rewrite": [
                    {
                        "match": "^",
                        "condition": [
                            {"test": "%{QUERY_STRING}", "equals": ""},
                            {"test": "%{QUERY_STRING}", "not_match": "^"},
                        ],
                        "env": {"A": "1"},
                    }
                ]
            },
        ),
        ("DirectoryIndex index.html index.php", {}),
        ("SSLVerifyClient none", {}),
        ("WSGIDaemonProcess a umask=0 user=#1000", {"process_group": {"a": {"umask": "000", "user": "1000"}}}),
        ("WSGIScriptAliasMatch /s /a.wsgi", {"mount": [{"match": "^.*?(?:/s)", "script": "/a.wsgi"}]}),
        (
            "WSGIScriptAlias /x /x.wsgi\nWSGIImportScript /x.wsgi process-group=%{GLOBAL} application-group=%{GLOBAL}",
            {"mount": [{"path": "/x", "script": "/x.wsgi", "preload": True}]},
        ),
        (
            "WSGIScriptAlias /x /x.wsgi\n<Location /x/>\nWSGIApplicationGroup a\n</Location>",
            {"mount": [{"path": "/x", "script": "/x.wsgi", "application_group": "a"}]},
        ),
        (
            "WSGIScriptAlias /s/ /srv/",
            {"alias": [{"path": "/s", "directory": "/srv"}], "directory": [RUNS]},
        ),
        (DIRECTORY.format("SetHandler wsgi-script\nOptions ExecCGI"), {"directory": [{**RUNS, **NO_LINKS}]}),
        (DIRECTORY.format("SetHandler wsgi-script\nOptions +ExecCGI"), {"directory": [RUNS]}),
        (
            DIRECTORY.format("AddHandler wsgi-script .wsgi py\nOptions All"),
            {"directory": [{**RUNS, "extensions": [".wsgi", ".py"], "follow_symlinks": True}]},
        ),
        (
            DIRECTORY.format('Options +ExecCGI\n<Files ~ "\\.wsgi$">\nSetHandler wsgi-script\n</Files>'),
            {"directory": [{**RUNS, "extensions": [".wsgi"]}]},
        ),
        (DIRECTORY.format("SetHandler wsgi-script\nOptions None"), {"directory": [{**NONE, **NO_LINKS}]}),
        (DIRECTORY.format("SetHandler none"), {"directory": [NONE]}),
        (DIRECTORY.format("Require all denied"), {"directory": [NONE]}),
        (DIRECTORY.format("Require all granted\nAllowOverride None"), {}),
        (
            "<DirectoryMatch ^/a/(b|c)>\nSetEnv A b\n</DirectoryMatch>\n<Directory ~ ^/d>\nSetEnv A b\n</Directory>",
            {"directory": [{"match": "^/a/(b|c)", "env": {"A": "b"}}, {"match": "^/d", "env": {"A": "b"}}]},
        ),
        (
            DAEMON,
            {
                "process_group": {
                    "a": {
                        "processes": 2,
                        "threads": 5,
                        "user": "u",
                        "group": "g",
                        "umask": "0027",
                        "home": "/h",
                        "python_path": ["/a", "/b"],
                        "python": "/v/bin/python",
                        "display_name": "(wsgi:a)",
                        "maximum_requests": 9,
                        "restart_interval": 8,
                        "inactivity_timeout": 7,
                        "request_timeout": 6,
                        "graceful_timeout": 5,
                        "shutdown_timeout": 4,
                        "startup_timeout": 3,
                        "cpu_priority": -2,
                        "memory_limit": 1000,
                        "process_env": {"LANG": "C", "LC_ALL": "C.UTF-8"},
                        "default": True,
                    }
                }
            },
        ),
        (
            RULES + "RewriteCond %{REQUEST_URI} ^/~([^/]+)\nRewriteRule . - [E=APPLICATION_GROUP:~%1]",
            {
                "rewrite": [
                    {
                        "match": ".",
                        "condition": [{"test": "%{REQUEST_URI}", "match": "^/~([^/]+)"}],
                        "env": {"APPLICATION_GROUP": "~%1"},
                    }
                ]
            },
        ),
        (
            RULES + "RewriteCond %{HTTP_HOST} !=a [NC,OR]\nRewriteCond %{HTTP:X} !^b\n"
            "RewriteRule !^/x - [nocase,E=!A,E=B,env=C:d:e,chain,S=2,last,PT]",
            {
                "rewrite": [
                    {
                        "not_match": "^/x",
                        "nocase": True,
                        "condition": [
                            {"test": "%{HTTP_HOST}", "not_equals": "a", "nocase": True, "or_next": True},
                            {"test": "%{HTTP:X}", "not_match": "^b"},
                        ],
                        "unset": ["A"],
                        "env": {"B": "", "C": "d:e"},
                        "chain": True,
                        "skip": 2,
                        "last": True,
                    }
                ]
            },
        ),
        (RULES + "RewriteRule ^/x -", {"rewrite": [{"match": "^/x"}]}),
        ("AliasMatch ^/x/(.*)$ /srv/$1\n" + SCRIPTS, {"alias": [{"path": "/x", "directory": "/srv"}], **SCRIPTS_THERE}),
        ("WSGIProcessGroup %{GLOBAL}", {}),
        ("BrowserMatch MSIE nokeepalive downgrade-1.0", {}),
        ("SetEnvIf Authorization (.+) HTTP_AUTHORIZATION=$1", {}),
        (
            "SetEnvIfNoCase X-Tenant ^([a-z]+)$ TENANT=<$1> SEEN !GONE PLAIN=5%",
            {
                "rewrite": [
                    {
                        "match": "^",
                        "condition": [{"test": "%{HTTP:X-Tenant}", "match": "^([a-z]+)$", "nocase": True}],
                        "env": {"TENANT": "<%1>", "SEEN": "1", "PLAIN": r"5\%"},
                        "unset": ["GONE"],
                    }
                ]
            },
        ),
        (
            "BrowserMatch bot BOT=$0\nSetEnvIf BOT ^(.)$ B=$1\nSetEnvIf Request_URI ^/a\\.b P=\\$1",
            {
                "rewrite": [
                    {
                        "match": "^",
                        "condition": [{"test": "%{HTTP:User-Agent}", "match": "bot"}],
                        "env": {"BOT": r"\$0"},
                    },
                    {"match": "^", "condition": [{"test": "%{ENV:BOT}", "match": "^(.)$"}], "env": {"B": "%1"}},
                    {
                        "match": "^",
                        "condition": [{"test": "%{REQUEST_URI}", "match": r"^/a\.b"}],
                        "env": {"P": r"\$1"},
                    },
                ]
            },
        ),
        ("<FilesMatch ^\\.ht>\nRequire all denied\n</FilesMatch>", {}),
        ("Options +ExecCGI\nAddHandler wsgi-script .wsgi", {"directory": [{**ROOT, "extensions": [".wsgi"]}]}),
        (
            "AddHandler wsgi-script .wsgi\n" + DIRECTORY.format("Options +ExecCGI"),
            {"directory": [{**RUNS, "extensions": [".wsgi"]}]},
        ),
        (
            "Options +ExecCGI\n<Files *.wsgi>\nSetHandler wsgi-script\n</Files>\n"
            + DIRECTORY.format("SetHandler wsgi-script"),
            {"directory": [{**ROOT, "extensions": [".wsgi"]}, {**RUNS, "extensions": []}]},
        ),
        (
            "<Directory />\nRequire all denied\n</Directory>\n"
            + DIRECTORY.format(f"{SCRIPTS_ON}\nOrder deny,allow\nAllow from all")
            + "<Directory /srv/a>\nRequire all granted\n</Directory>",
            {"directory": [{**ROOT, "handler": "none"}, {**NONE}, {"path": "/srv/a", "handler": "wsgi-script"}]},
        ),
        (
            "<Directory />\nDeny from all\n</Directory>\n<Directory /srv/a>\nRequire all granted\n</Directory>\n"
            + DIRECTORY.format("Order deny,allow\nAllow from all\nSetHandler wsgi-script\nOptions +ExecCGI")
            + "<Directory /srv/b>\nRequire all denied\n</Directory>\n"
            "<Directory /srv/b/c>\nRequire all granted\n</Directory>",
            {
                "directory": [
                    {**ROOT, "handler": "none"},
                    RUNS,
                    {"path": "/srv/b", "handler": "none"},
                    {"path": "/srv/b/c", "handler": "wsgi-script"},
                ]
            },
        ),
        (
            "WSGIScriptAlias /x /srv/x.wsgi\n<Directory />\nRequire all denied\n</Directory>\n"
            + DIRECTORY.format("<Files x.wsgi>\nRequire all granted\n</Files>"),
            {"mount": [{"path": "/x", "script": "/srv/x.wsgi"}], "directory": [{**ROOT, "handler": "none"}]},
        ),
        (
            "WSGIScriptAlias /x /x.wsgi\n<Location /x/y>\nRequire all denied\n</Location>",
            {"mount": [{"path": "/x", "script": "/x.wsgi"}], "alias": [{"path": "/x/y", "directory": "/dev/null"}]},
        ),
        (
            "WSGIScriptAlias /x /x.wsgi\nWSGIScriptAlias /y /y.wsgi application-group=y\nWSGIScriptAliasMatch ^/z /z\n"
            "<Location /x>\nSetEnv A 1\nWSGIApplicationGroup x\n</Location>\n"
            "<Location />\nSetEnv B 1\nWSGIApplicationGroup all\n</Location>\n"
            + DIRECTORY.format("WSGIApplicationGroup d"),
            {
                "application_group": "all",
                "env": {"B": "1"},
                "mount": [
                    {"path": "/x", "script": "/x.wsgi", "env": {"A": "1", "B": "1"}, "application_group": "all"},
                    {"path": "/y", "script": "/y.wsgi", "env": {"B": "1"}, "application_group": "y"},
                    {"match": "^/z", "script": "/z", "env": {"B": "1"}, "application_group": "all"},
                ],
                "directory": [{"path": "/srv", "application_group": "all", "env": {"B": "1"}}],
            },
        ),
        (
            "Alias /u /srv\n"
            + DIRECTORY.format(
                f"{SCRIPTS_ON}\n{RULES}RewriteRule ^a/(.*) - [E=A:$1]\nRewriteRule b$ - [E=B:1]\n"
                "RewriteRule .* - [E=C:1]\nRewriteRule !^d - [E=D:1]\nSetEnvIf Host (.*) H=$1\n"
                "RewriteRule .* - [E=HTTP_AUTHORIZATION:%{HTTP:Authorization}]\nRewriteBase /"
            ),
            {
                "alias": [{"path": "/u", "directory": "/srv"}],
                "directory": [RUNS],
                "rewrite": [
                    {
                        "match": "^/u(?:/|$)",
                        "condition": [{"test": "%{HTTP:Host}", "match": "(.*)"}],
                        "env": {"H": "%1"},
                    },
                    {"match": "^/u/a/(.*)", "env": {"A": "$1"}},
                    {"match": "^/u/.*?(?:b$)", "env": {"B": "1"}},
                    {"match": "^/u(?:/|$)", "env": {"C": "1"}},
                    {
                        "not_match": "^/u/d",
                        "condition": [{"test": "%{REQUEST_URI}", "match": "^/u(?:/|$)"}],
                        "env": {"D": "1"},
                    },
                ],
            },
        ),
        (
            "UserDir /home/*/www\n"
            + SCRIPTS.replace("/srv", "/home/*/www/s").replace("</D", f"{RULES}RewriteRule . - [E=A:1]\n</D"),
            {
                "userdir": {"path": ["/home/*/www"]},
                "directory": [{**RUNS, "path": "/home/*/www/s"}],
                "rewrite": [{"match": "^/~[^/]+/s(?:/|$)", "env": {"A": "1"}}],
            },
        ),
        (
            MACRO,
            {
                "mount": [
                    {"path": "/a", "script": "/srv/a.wsgi", "application_group": "g1"},
                    {"path": "/b", "script": "/srv/b.wsgi", "application_group": "g2"},
                ]
            },
        ),
    ],
)
def test_translated(translated, text: str, expected: dict[str, object]) -> None:
    """What has a counterpart becomes that, and there is nothing to remark."""
    found = translated(text)
    assert dict(found.mapping) == {"follow_symlinks": True, **expected}
    assert found.remarks == ()


@pytest.mark.parametrize(
    ("text", "line", "meaning"),
    [
        ("Nonsense 1", 1, "has no counterpart"),
        ("\nRequire ip 10.0.0.0/8", 2, "ACCESS IS NOT CHECKED"),
        (DIRECTORY.format("Require valid-user"), 2, "ACCESS IS NOT CHECKED"),
        ("SSLVerifyClient require", 1, "ACCESS IS NOT CHECKED"),
        (DIRECTORY.format("SSLRequireSSL"), 2, "ACCESS IS NOT CHECKED"),
        ("<Location /a>\nAllowMethods GET\n</Location>", 2, "ACCESS IS NOT CHECKED"),
        (RULES + "RewriteRule ^/a /b [R,F]", 2, "ACCESS IS NOT CHECKED"),
        ("DirectoryIndex index.html index.wsgi", 1, "name the script in the URL"),
        ("<Location /a>\nOptions +ExecCGI\n</Location>", 2, "what runs is no business of a URL here"),
        ("<Location /a>\nOptions Indexes\n</Location>", 2, "what runs is no business of a URL here"),
        ("WSGIScriptAliasMatch ^/([^/]+)/(.+) /$1.wsgi/$2", 1, "leads on behind the script's file"),
        (RULES + "RewriteRule . - [E=A:${m:%{HTTP_HOST}}]", 2, "what RewriteMap makes of it is not known"),
        (RULES + "RewriteCond ${m:$1} a\nRewriteRule . - [E=A:1]", 2, "what RewriteMap makes of it is not known"),
        ("<RequireAny>\nRequire ip 10.0.0.0/8\n</RequireAny>", 1, "ACCESS IS NOT CHECKED"),
        ("<LocationMatch ^/x>\nRequire all denied\n</LocationMatch>", 1, "ACCESS IS NOT CHECKED"),
        ("<Location ~ ^/x>\nRequire all denied\n</Location>", 1, "ACCESS IS NOT CHECKED"),
        (DIRECTORY.format("<Limit POST>\nDeny from all\n</Limit>"), 2, "ACCESS IS NOT CHECKED"),
        ("<If true>\nRequire all denied\n</If>", 1, "ACCESS IS NOT CHECKED"),
        (DIRECTORY.format("AllowOverride AuthConfig"), 2, ".htaccess files are not read"),
        ("<If true>\nSetEnv A b\n</If>", 1, "what is in it was left out"),
        ("<Unknown x>\n</Unknown>", 1, "has no counterpart"),
        ("DocumentRoot /srv", 1, FILES),
        ("Alias /a /srv", 1, FILES),
        (DIRECTORY.format("SetHandler wsgi-script"), 2, "without Options ExecCGI Apache answers 403"),
        (DIRECTORY.format("Options +ExecCGI +SymLinksIfOwnerMatch"), 2, "links are not followed there"),
        (DIRECTORY.format("<Files a.py>\nSetEnv A b\n</Files>"), 2, "settings of single files"),
        ("<Location /x>\nWSGIApplicationGroup a\n</Location>", 1, "no application is mounted at or below this path"),
        ("WSGIScriptAlias /a /a.wsgi\nWSGIScriptAlias /a/b /b.wsgi", 2, "never reached: {}:1 comes before it"),
        (
            "WSGIScriptAlias /a/b /a.wsgi\nAlias /a /b\n"
            + DIRECTORY.replace("/srv", "/b").format("SetHandler wsgi-script\nOptions +ExecCGI"),
            1,
            "never reached: {}:2 comes before it",
        ),
        ("WSGIScriptAlias / /a.wsgi\nWSGIScriptAlias /a /b.wsgi", 2, "never reached"),
        ("WSGIScriptAliasMatch ^/a /a.wsgi\nWSGIScriptAlias /a/b /b.wsgi", 2, "counts before the pattern ^/a here"),
        ("UserDir /home/*/www\nWSGIScriptAlias / /a.wsgi", 1, "never reached: an alias of / comes before it"),
        ("WSGIScriptAlias /a /a.wsgi script-user=x", 1, "script-user=x has no counterpart"),
        ("WSGIScriptAlias /a", 1, "has no counterpart"),
        ("WSGIDaemonProcess a deadlock-timeout=5", 1, "deadlock-timeout=5: a process that does not answer is noticed"),
        ("WSGIDaemonProcess a nonsense=5", 1, "nonsense=5: has no counterpart"),
        ("WSGIImportScript /x.wsgi process-group=a application-group=b", 1, "no mount has this script"),
        ("WSGIPassAuthorization Off", 1, "always see the Authorization header"),
        ("WSGIRestrictStdin Off", 1, "there is no such restriction"),
        ("UserDir public_html", 1, "taken to be /home/*"),
        ("UserDir http://www.example.com/", 1, "what redirects elsewhere was left out"),
        ("Listen 443 https", 1, "TLS needs certfile and keyfile"),
        ("RewriteRule ^/a - [E=A:b]", 1, "without RewriteEngine On it does not count"),
        (RULES + "RewriteRule ^/a /b", 2, "the path stays as the client wrote it"),
        (RULES + "RewriteRule ^/a - [F]", 2, "ACCESS IS NOT CHECKED"),
        (RULES + "RewriteRule ^/(.*) - [E=A_$1:b]", 2, "the name of a variable has no groups"),
        (RULES + "RewriteCond %{REQUEST_FILENAME} !-f\nRewriteRule ^/a -", 2, "this never holds"),
        (RULES + "RewriteCond %{HTTP_HOST} a", 2, "no RewriteRule follows it"),
        ("SetEnvIf Server_Addr a B=c", 1, "the variable is not set"),
        ("SetEnvIf ^X-.* a B=c", 1, "the variable is not set"),
        ("SetEnvIf Host a", 1, "has no variable"),
        ("AliasMatch ^/x/(.*)/y /srv/$1", 1, "it is not done: whatever else covers the path answers"),
        ("ScriptAlias /cgi-bin/ /usr/lib/cgi-bin/", 1, "CGI scripts are answered 404"),
        ("ProxyPass /a http://a", 1, "nothing is passed on: whatever else covers the path answers"),
        ("<LocationMatch ^/x>\nSetEnv A b\n</LocationMatch>", 1, "its settings were left out"),
        ("<Location ~ ^/x>\nSetEnv A b\n</Location>", 1, "which URLs it is for is not worked out"),
        ("<Location /x>\nSetHandler wsgi-script\n</Location>", 2, "give it to the directory where the scripts lie"),
        ("<Location /x>\nRewriteRule . - [E=A:b]\n</Location>", 2, "stands outside of all sections here"),
        ("<Location /server-status>\nSetHandler server-status\n</Location>", 2, "there is no handler server-status"),
        ("WSGIScriptAlias /x /srv/x.wsgi\n" + DIRECTORY.format("Require all denied"), 1, "is refused by {}:3"),
        (
            "WSGIScriptAliasMatch ^/x/([^/]+) /srv/$1/x.wsgi\n<Directory /srv/*>\nRequire all denied\n</Directory>",
            1,
            "is refused by {}:3",
        ),
        ("WSGIScriptAlias /x /x.wsgi\n<Location />\nRequire all denied\n</Location>", 1, "is refused by {}:3"),
        (
            DIRECTORY.format(f"{SCRIPTS_ON}\n<Files secret.wsgi>\nRequire all denied\n</Files>"),
            4,
            "ACCESS IS NOT CHECKED",
        ),
        (DIRECTORY.format(f"{RULES}RewriteRule ^a - [E=A:1]"), 3, "which URLs lead there is not known"),
        (
            "WSGIScriptAlias /x /srv/x.wsgi\n" + DIRECTORY.format(f"{RULES}RewriteRule ^x.wsgi/a - [E=A:1]"),
            4,
            "which URLs lead there is not known",
        ),
        (RULES + "RewriteCond %{THE_REQUEST} a\nRewriteRule ^/a -", 2, "there is no %{THE_REQUEST} here: this never"),
        (RULES + "RewriteRule ^/a - [E=A:%{TIME_HOUR}]", 2, "there is no %{TIME_HOUR} here; this rule was left out"),
        ("WSGIApplicationGroup %{HOST}", 1, "there is no such variable"),
        ("WSGIScriptAlias /a /b application-group=%{A}", 1, "there is no such variable"),
        ("SetEnv A ${NOBODY_DEFINES_THIS}/${NOR_THIS}", 1, "what ${NOBODY_DEFINES_THIS}, ${NOR_THIS} is"),
        ("SetEnv A \udce9", 1, "bytes in it that are no UTF-8"),
        ("<VirtualHost *:80>\n</VirtualHost>", 1, "has no ServerName; it is called unnamed-1.invalid"),
        ("<VirtualHost *:80>\nServerName a\nServerAlias w*w *.b c\n</VirtualHost>", 3, "w*w: only '*.' at the"),
        (RULES + "RewriteRule ^/a -\n<VirtualHost *>\nServerName a\n</VirtualHost>", 2, "RewriteOptions Inherit"),
        ("<IfModule mod_ssl.c>\nSetEnv A b\n</IfModule>", 1, "nothing says whether it holds: taken to"),
        ("<IfVersion ~ (>\nSetEnv A b\n</IfVersion>", 1, "nothing says whether it holds: taken to"),
    ],
)
def test_remarks(translated, tmp_path: Path, text: str, line: int, meaning: str) -> None:
    """What has no counterpart is told, with its file and line and what it means."""
    found = translated(text)
    assert [remark.place for remark in found.remarks] == [f"{tmp_path}/httpd.conf:{line}"], found.remarks
    assert meaning.replace("{}", f"{tmp_path}/httpd.conf") in found.remarks[0].meaning
    assert str(found.remarks[0]).startswith(f"{tmp_path}/httpd.conf:{line}: ")


@pytest.mark.parametrize(
    ("access", "handler"),
    [
        ("Require all denied", "none"),
        ("Require all denied\nRequire all granted", "wsgi-script"),
        ("Require all granted\nRequire all denied", "wsgi-script"),
        ("Require not all granted", "none"),
        ("<RequireAll>\nRequire all denied\n</RequireAll>", "none"),
        ("<RequireAll>\nRequire ip 10.0.0.1\nRequire all denied\n</RequireAll>", "none"),
        ("<RequireAll>\nRequire all granted\n</RequireAll>", "wsgi-script"),
        ("<RequireAny>\nRequire all denied\n</RequireAny>", "none"),
        ("<RequireAny>\n<RequireAll>\nRequire all denied\n</RequireAll>\n</RequireAny>", "none"),
        ("<RequireNone>\nRequire all granted\n</RequireNone>", "none"),
        ("Order allow,deny", "none"),
        ("Order Allow,Deny\nAllow from all", "wsgi-script"),
        ("Order allow,deny\nDeny from all\nAllow from all", "none"),
        ("Order deny,allow", "wsgi-script"),
        ("Order deny,allow\nAllow from all\nDeny from all", "wsgi-script"),
        ("Order deny,allow\nDeny from all", "none"),
        ("Order mutual-failure\nDeny from all\nAllow from all", "none"),
        ("Require all granted\nDeny from all", "none"),
        ("Order allow,deny\nAllow from all\nRequire all denied", "none"),
    ],
)
def test_access(translated, access: str, handler: str) -> None:
    """What nobody may have in Apache is no folder of scripts; what all may have is one, and no remark is made."""
    found = translated(DIRECTORY.format(f"{SCRIPTS_ON}\n{access}"))
    assert [one["handler"] for one in found.mapping["directory"]] == [handler]
    assert [one.meaning for one in found.remarks] == []


@pytest.mark.parametrize(
    ("expression", "refused"),
    [
        ("^/[[:alpha:]]+/", True),
        ("^/[[:digit:]]+/", False),
        (r"^/\Qsrv\E/", True),
        (r"^/s(?R)", True),
    ],
)
def test_expressions_that_refuse(translated, expression: str, refused: bool) -> None:
    """Whether a mount is refused is read as PCRE reads it; where that is not known, it is."""
    denied = f"<DirectoryMatch '{expression}'>\nRequire all denied\n</DirectoryMatch>\n"
    found = translated(f"{denied}WSGIScriptAlias /x /srv/x.wsgi")
    assert ("mount" not in found.mapping) is refused
    assert any("is refused by" in one.meaning for one in found.remarks) is refused


@pytest.mark.parametrize(
    "files", ["<Files ~ \\.wsgi$>", "<FilesMatch \\.wsgi$>", "<FilesMatch ^\\.|wsgi>", "<Files *.wsgi>"]
)
def test_files_that_are_refused(translated, tmp_path: Path, files: str) -> None:
    """Only names that begin with a dot are refused here as well; of all others it is told that nobody is refused."""
    closing = "</FilesMatch>" if "Match" in files else "</Files>"
    found = translated(f"Alias /a /srv\n{SCRIPTS}{files}\nRequire all denied\n{closing}")
    assert [one.place for one in found.remarks if "ACCESS IS NOT" in one.meaning] == [f"{tmp_path}/httpd.conf:6"]


@pytest.mark.parametrize(
    ("listen", "names", "meanings"),
    [
        (["80", "127.0.0.1:81"], ["*:80", "*:81"], ["port 80", "port 81"]),
        (["80", "127.0.0.1:81"], ["*:80", "127.0.0.1:81"], ["port 80", "port 81", "127.0.0.1:81"]),
        (["80"], ["10.0.0.1:80", "[2001:db8::1]:80"], ["10.0.0.1:80", "[2001:db8::1]:80"]),
        (["80"], ["*:80", "_default_:80"], []),
        (["80", "443"], ["*:80 *:443", "*"], []),
    ],
)
def test_where_virtual_hosts_answer(translated, listen: list[str], names: list[str], meanings: list[str]) -> None:
    """A virtual host of one port or address answers on all of them here, which is told: it may be one for few."""
    hosts = [f"<VirtualHost {one}>\nServerName s{at}.example.com\n</VirtualHost>" for at, one in enumerate(names)]
    found = translated("\n".join([*(f"Listen {one}" for one in listen), *hosts]))
    assert [one.meaning.partition(" in Apache")[0] for one in found.remarks] == [
        f"answers on {one}" for one in meanings
    ]


def test_quoted_options(translated) -> None:
    """Options of mod_wsgi's directives may have quoted values, with spaces in them, as mod_wsgi-express writes them."""
    found = translated(
        "WSGIDaemonProcess 'a' home='/h h' display-name=\"(it's)\" lang='' locale='C.UTF-8' python-path='' "
        "python-path='/p q:/r'\nWSGIScriptAlias / '/x y.wsgi' process-group='a' application-group=\"g h\"\n"
        "SetEnv A b='c\n"
    )
    assert found.remarks == ()
    assert found.mapping["process_group"] == {
        "a": {
            "home": "/h h",
            "display_name": "(it's)",
            "process_env": {"LC_ALL": "C.UTF-8"},
            "python_path": ["/p q", "/r"],
        }
    }
    mount = {"path": "/", "script": "/x y.wsgi", "process_group": "a", "application_group": "g h"}
    assert found.mapping["mount"] == [mount]
    assert found.mapping["env"] == {"A": "b='c"}


def test_process_group_of_nobody(translated) -> None:
    """A process group that nobody has made is told."""
    (remark,) = translated("WSGIProcessGroup a").remarks
    assert remark.meaning.startswith("no WSGIDaemonProcess has this name")


def test_virtual_hosts(translated) -> None:
    """The first virtual host is the one for unknown names; ports are in names that several have."""
    text = (
        "WSGIScriptAlias /all /all.wsgi\n"
        "<VirtualHost *:80>\nServerName a\nServerAlias b *.c\nWSGIScriptAlias / /a.wsgi\n</VirtualHost>\n"
        "<VirtualHost *:443>\nServerName a\nWSGIProcessGroup p\n</VirtualHost>\n"
        "<VirtualHost *:8080>\nServerName d\nSetEnv A b\n<Directory /d>\nSetEnv B c\n</Directory>\n</VirtualHost>\n"
        "WSGIDaemonProcess p\nServerName e.f:99\n"
        "<VirtualHost *:81>\n</VirtualHost>\n"
    )
    found = translated(text)
    assert found.remarks == ()
    assert found.mapping["mount"] == [{"path": "/all", "script": "/all.wsgi"}]
    assert found.mapping["process_group"] == {"p": {}}
    assert found.mapping["virtual_host"] == [
        {
            "mount": [{"path": "/", "script": "/a.wsgi"}],
            "server_name": "a:80",
            "server_alias": ["b", "*.c"],
            "default": True,
        },
        {"server_name": "a:443", "process_group": "p"},
        {"server_name": "d", "env": {"A": "b"}, "directory": [{"path": "/d", "env": {"B": "c"}}]},
        {"server_name": "e.f"},
    ]
    assert "server_name" not in found.mapping  # nobody reaches the server configuration


def test_server_that_is_reached(translated) -> None:
    """On a port that no virtual host has the server configuration answers, with its rules and under its name."""
    text = (
        "Listen 80\nListen 443\nServerName a\nRewriteEngine On\nRewriteRule s -\n"
        "<VirtualHost *:443>\nServerName a\n</VirtualHost>\n<VirtualHost _default_:443>\nServerName b\n</VirtualHost>\n"
    )
    found = translated(text)
    assert [host["server_name"] for host in found.mapping["virtual_host"]] == ["a:443", "b"]
    assert found.mapping["server_name"] == "a"
    assert found.mapping["rewrite"] == [{"match": "s"}]
    assert not any("default" in host for host in found.mapping["virtual_host"])
    assert [(remark.text, remark.meaning) for remark in found.remarks] == [
        ("<VirtualHost _default_:443>", "answers on port 443 in Apache; here its names lead to it on every port")
    ]


@pytest.mark.parametrize(
    ("listen", "hosts", "reached"),
    [
        ([], [], True),
        (["80"], [], True),
        ([], ["*:80"], False),
        (["80"], ["*:80"], False),
        (["80", "443"], ["*:80"], True),
        (["80", "443"], ["*:80", "*:443"], False),
        (["80", "443"], ["*:80 *:443"], False),
        (["80"], ["*"], False),
        (["80"], ["*:*"], False),
        (["80"], ["[::1]"], False),
        (["80", "81"], ["[::1]:80 10.0.0.1:81"], False),
    ],
)
def test_who_is_reached(translated, listen: list[str], hosts: list[str], reached: bool) -> None:
    """The server configuration is reached without virtual hosts, and on ports that none of them has."""
    text = "".join(f"Listen {port}\n" for port in listen)
    text += "".join(f"<VirtualHost {one}>\nServerName n{number}\n</VirtualHost>\n" for number, one in enumerate(hosts))
    found = translated(f"ServerName s\n{text}")
    assert ("server_name" in found.mapping) is reached


def test_what_virtual_hosts_inherit(translated) -> None:
    """RewriteEngine and SetEnvIf count in virtual hosts too; rules only where they are inherited (measured)."""
    text = (
        "Listen 80\nListen 81\nServerName s\nSetEnvIf Host s S=1\nRewriteEngine On\nRewriteRule s -\n"
        "<VirtualHost *:80>\nServerName a\nRewriteRule a -\nSetEnvIf Host a A=1\n</VirtualHost>\n"
        "<VirtualHost *:80>\nServerName b\nRewriteOptions Inherit\n</VirtualHost>\n"
        "<VirtualHost *:80>\nServerName c\n</VirtualHost>\n"
        "<VirtualHost *:80>\nServerName d\nRewriteEngine Off\nRewriteRule d -\n</VirtualHost>\n"
    )
    found = translated(text)
    names = {
        host["server_name"]: ["".join(rule.get("env", rule["match"])) for rule in host["rewrite"]]
        if "rewrite" in host
        else None
        for host in (found.mapping, *found.mapping["virtual_host"])
    }
    assert names == {"s": ["S", "s"], "a": ["S", "A", "a"], "b": None, "c": ["S"], "d": ["S"]}
    said = [one.meaning for one in found.remarks if "RewriteRule" in one.text]
    assert said == ["without RewriteEngine On it does not count"]


def test_a_virtual_host_without_the_rules_of_the_server(translated) -> None:
    """Where rules of the server would be inherited, and are not in Apache, an empty list says so."""
    text = (
        "Listen 80\nListen 81\nServerName s\nRewriteEngine On\nRewriteRule s -\n"
        "<VirtualHost *:80>\nServerName a\n</VirtualHost>\n"
    )
    assert translated(text).mapping["virtual_host"][0]["rewrite"] == []


def test_sections_in_virtual_hosts(translated) -> None:
    """What a virtual host says may give a section of the server's the handler, or take it away."""
    text = (
        DIRECTORY.format("SetHandler wsgi-script")
        + "<Directory /other>\nOptions +ExecCGI\nSetHandler wsgi-script\n</Directory>\n"
        "<VirtualHost *>\nServerName a\nOptions +ExecCGI\n</VirtualHost>\n"
        "<VirtualHost *>\nServerName b\n<Directory /other/b>\nRequire all denied\n</Directory>\n</VirtualHost>\n"
        "<VirtualHost *>\nServerName c\n</VirtualHost>\n"
    )
    hosts = translated(text).mapping["virtual_host"]
    assert not any("ExecCGI" in one.meaning for one in translated(text).remarks)
    assert translated(text).mapping["directory"] == [NONE, {**RUNS, "path": "/other"}]
    assert [host.get("directory") for host in hosts] == [
        [RUNS],
        [{"path": "/other/b", "handler": "none"}],
        None,
    ]


@pytest.mark.parametrize(
    ("shorter", "narrowed"),
    [
        ("<Directory /home/mallory>\nRequire all denied\n</Directory>", ["/home/mallory/s"]),
        ("<Directory /home/m*>\nOptions -ExecCGI\n</Directory>", ["/home/m*/s"]),
        ("<Directory /home/mallory/s>\nRequire all granted\n</Directory>", []),
        ("<Directory /else/mallory>\nRequire all denied\n</Directory>", []),
    ],
)
def test_a_part_of_a_section(translated, shorter: str, narrowed: list[str]) -> None:
    """What a shorter section takes away from a part of a longer one with wildcards is no folder of scripts."""
    text = SCRIPTS.replace("/srv", "/home/*/s").replace("Options +ExecCGI\n", "") + f"Options +ExecCGI\n{shorter}\n"
    directories = translated(text).mapping["directory"]
    runs = directories.index({**RUNS, "path": "/home/*/s"})
    none = [one["path"] for one in directories[runs + 1 :] if one["handler"] == "none"]
    assert [path for path in none if path.endswith("/s")] == narrowed


def test_a_part_of_an_expression(translated) -> None:
    """The same for a section with a regular expression, which counts after all paths."""
    text = (
        "<DirectoryMatch ^/home/[^/]+/s/>\nOptions +ExecCGI\nSetHandler wsgi-script\n</DirectoryMatch>\n"
        "<Directory /home/m?l[!x].*>\nRequire all denied\n</Directory>\n"
    )
    directories = translated(text).mapping["directory"]
    assert directories[-1] == {"match": r"^/home/m[^/]l[^x]\.[^/]*/", "handler": "none"}
    assert directories[0] == {"match": "^/home/[^/]+/s/", "handler": "wsgi-script"}


def test_aliases_and_locations_of_the_server(translated) -> None:
    """An Alias of the server comes before a virtual host's WSGIScriptAlias; its <Location> counts there too."""
    text = (
        "Alias /icons/ /srv/icons/\nAlias /sub/x /srv/x\n"
        "<Location /private>\nRequire all denied\n</Location>\n<Location /sub>\nSetEnv A 1\n</Location>\n"
        "<VirtualHost *>\nServerName a\nWSGIScriptAlias /sub /b.wsgi\nWSGIScriptAlias / /a.wsgi\n</VirtualHost>\n"
        "<VirtualHost *>\nServerName b\nWSGIScriptAlias /icons/x /b.wsgi\nAlias /sub /srv/sub\n</VirtualHost>\n"
        "<VirtualHost *>\nServerName c\n</VirtualHost>\n"
    )
    found = translated(text)
    first, second, third = found.mapping["virtual_host"]
    icons, inner = ({"path": "/icons", "directory": "/srv/icons"}, {"path": "/sub/x", "directory": "/srv/x"})
    nothing = {"path": "/private", "directory": "/dev/null"}
    assert found.mapping["alias"] == [icons, inner, nothing]
    assert first["alias"] == [icons, inner, nothing]
    assert first["mount"] == [
        {"path": "/sub", "script": "/b.wsgi", "env": {"A": "1"}},
        {"path": "/", "script": "/a.wsgi"},
    ]
    assert second["alias"] == [{"path": "/sub", "directory": "/srv/sub"}]
    assert "mount" not in second
    assert "alias" not in third
    assert [one.meaning for one in found.remarks if "icons/x" in one.text] == [
        f"is never reached: {found.places['alias', 0].place} comes before it"
    ]


SECURE = "<VirtualHost *:443>\nServerName {}\nSSLEngine on\nSSLCertificateFile /{}.pem\n</VirtualHost>\n"


def test_cgi_scripts(translated) -> None:
    """CGI scripts are none of ours, whatever handler their directory has."""
    text = "Options +ExecCGI\nAddHandler wsgi-script .cgi\nScriptAlias /cgi-bin/ /usr/lib/cgi-bin/\n"
    text += "<VirtualHost *>\nServerName a\nWSGIScriptAlias / /a.wsgi\n</VirtualHost>\n"
    mapping = translated(text).mapping
    assert mapping["alias"] == mapping["virtual_host"][0]["alias"] == [{"path": "/cgi-bin", "directory": "/dev/null"}]


def test_tls(translated) -> None:
    """Where all addresses speak TLS with one certificate, that is translated."""
    text = "Listen 443 https\nSSLCertificateKeyFile /key\n" + SECURE.format("a", "x") + SECURE.format("b", "x")
    found = translated(text)
    assert (found.remarks, found.mapping["certfile"], found.mapping["keyfile"]) == ((), "/x.pem", "/key")


@pytest.mark.parametrize(
    ("listen", "names", "bind", "meanings"),
    [
        ("Listen 80\nListen 443\n", "xx", ["0.0.0.0:80"], ["speaks TLS, and"]),
        ("Listen 443\n", "xy", ["0.0.0.0:443"], []),
        ("Listen 80\n", "xx", ["0.0.0.0:80"], []),
    ],
)
def test_tls_that_is_not_translated(translated, listen: str, names: str, bind: list[str], meanings: list[str]) -> None:
    """Several certificates, or addresses with and without TLS, are told; no address speaks what it should not."""
    text = listen + "SSLCertificateKeyFile /key\n" + "".join(SECURE.format(f"host{n}", x) for n, x in enumerate(names))
    found = translated(text)
    assert "certfile" not in found.mapping
    assert found.mapping["bind"] == bind
    assert [one.meaning[:15] for one in found.remarks if one.name == "Listen"] == meanings
    assert len([one for one in found.remarks if one.name.startswith("SSL")]) == 5


def test_relative_paths(translated) -> None:
    """Relative paths start from ServerRoot, wherever the translation will stand."""
    found = translated("ServerRoot /etc/httpd\nDocumentRoot www\nAlias /a x\nWSGIScriptAlias /b b.wsgi").mapping
    assert (found["document_root"], found["alias"][0]["directory"], found["mount"][0]["script"]) == (
        "/etc/httpd/www",
        "/etc/httpd/x",
        "/etc/httpd/b.wsgi",
    )


def test_places(translated, tmp_path: Path) -> None:
    """Each table and key has the place of the statement that has made it, also of one out of a macro."""
    text = (
        "ServerName a\n<Macro M $x>\nWSGIScriptAlias /$x /$x.wsgi\n</Macro>\nUse M x\n"
        "<VirtualHost *>\nServerName b\nSetEnv A b\n<Directory /srv>\nOptions +ExecCGI\n"
        "SetHandler wsgi-script\nWSGIApplicationGroup g\n</Directory>\n</VirtualHost>\n"
    )
    found = {place: by.place.removeprefix(f"{tmp_path}/httpd.conf:") for place, by in translated(text).places.items()}
    assert found["mount", 0] == "5"
    assert found["virtual_host", 0] == "6"
    assert found["virtual_host", 0, "server_name"] == "7"
    assert found["virtual_host", 0, "env", "A"] == "8"
    assert found["virtual_host", 0, "directory", 0] == "9"
    assert found["virtual_host", 0, "directory", 0, "handler"] == "11"
    assert found["virtual_host", 0, "directory", 0, "application_group"] == "12"


def test_variables_of_rules() -> None:
    """The variables that rules are translated with are those that there are."""
    assert {*rewrite._FACTS, *rewrite._FIELDS} == KNOWN


def test_rules_of_virtual_hosts(translated) -> None:
    """A virtual host has its own rules, and the server's where it inherits them."""
    text = (
        "RewriteEngine On\nRewriteRule s -\n"
        f"<VirtualHost *>\nServerName a\n{RULES}RewriteOptions Inherit\nRewriteRule a -\n</VirtualHost>\n"
        f"<VirtualHost *>\nServerName b\n{RULES}RewriteOptions InheritBefore\nRewriteRule b -\n</VirtualHost>\n"
    )
    found = translated(text)
    assert found.remarks == ()
    assert [[one["match"] for one in host["rewrite"]] for host in found.mapping["virtual_host"]] == [
        ["a", "s"],
        ["s", "b"],
    ]
    assert "rewrite" not in found.mapping


def test_options_of_a_folder_below(translated) -> None:
    """Where a section below takes ExecCGI away its files are no scripts."""
    text = (
        DIRECTORY.format("SetHandler wsgi-script\nOptions ExecCGI") + "<Directory /srv/x>\nOptions None\n</Directory>"
    )
    below = translated(text).mapping["directory"][1]
    assert below == {"path": "/srv/x", "follow_symlinks": False, "handler": "none"}


def test_words() -> None:
    """No directive is both neutral and one that means something, and names are as they are compared."""
    assert NEUTRAL.isdisjoint(MEANINGS)
    assert [name for name in (*NEUTRAL, *MEANINGS) if name != name.lower()] == []


@pytest.mark.skipif(apache.missing() is not None, reason=apache.missing() or "")
def test_all_directives_of_mod_wsgi(translated, tmp_path: Path) -> None:
    """Each directive that mod_wsgi has is translated, neutral, or has a meaning of its own in a remark."""
    folder = apache.modules()
    (tmp_path / "list.conf").write_text(
        f"ServerRoot {tmp_path}\nErrorLog {tmp_path}/error.log\n"
        + "".join(f"LoadModule {one}_module {folder}/mod_{one}.so\n" for one in apache.WANTED)
    )
    program = [str(apache.command()), "-f", str(tmp_path / "list.conf"), "-L"]
    listed = subprocess.run(program, capture_output=True, text=True, timeout=30, check=False).stdout
    names = re.findall(r"^(WSGI\w+) ", listed, re.MULTILINE)
    assert len(names) > 30
    silent = []
    for name in names:
        known = []
        for words in ("Off", "/a /b.wsgi"):
            found = translated(f"{name} {words}\n")
            meanings = [remark.meaning for remark in found.remarks]
            is_told = bool(meanings) or dict(found.mapping) != {"follow_symlinks": True}
            known.append(is_told and NO_COUNTERPART not in meanings)
        if not any(known) and name.lower() not in NEUTRAL:
            silent.append(name)
    assert silent == []


def test_names_that_are_taken(translated, tmp_path: Path) -> None:
    """A name that several virtual hosts have on one port is the first one's, told; on two ports each has its own."""
    host = "<VirtualHost *:{}>\nServerName {}\nServerAlias {}\nWSGIScriptAlias / /x\n</VirtualHost>\n"
    text = (
        "Listen 80\nListen 443\n"
        + host.format(80, "a.example", "www.a.example *.w.example")
        + host.format(443, "www.a.example", "A.example")
        + host.format(80, "A.example", "b.example www.a.example.")
        + host.format(80, "x.w.example", "c.example")
    )
    found = translated(text)
    hosts = found.mapping["virtual_host"]
    assert [(one["server_name"], one["server_alias"]) for one in hosts] == [
        ("a.example:80", ["www.a.example", "*.w.example"]),
        ("www.a.example:443", ["A.example"]),
        ("unnamed-3.invalid:80", ["b.example"]),
        ("unnamed-4.invalid:80", ["c.example"]),
    ]
    place = f"{tmp_path}/httpd.conf"
    assert [str(one).removeprefix(place) for one in found.remarks] == [
        f":13: <VirtualHost *:80>: A.example is a name of {place}:3 already, which answers",
        f":15: ServerAlias b.example www.a.example.: www.a.example. is a name of {place}:3 already, which answers",
        f":18: <VirtualHost *:80>: x.w.example is a name of {place}:3 already, which answers",
    ]


def test_all_relative_paths(translated) -> None:
    """Each path of the translation starts from ServerRoot, wherever the translation is written."""
    text = """\
ServerRoot /etc/x
WSGIPythonPath lib:/lib
WSGIDaemonProcess a home=h python-home=venv python-path=p
WSGIScriptAlias /x x.wsgi
SSLEngine on
SSLCertificateFile c.pem
SSLCertificateKeyFile k.pem
"""
    found = translated(text)
    del found.mapping["follow_symlinks"]
    assert found.mapping == {
        "python_path": ["/etc/x/lib", "/lib"],
        "mount": [{"path": "/x", "script": "/etc/x/x.wsgi"}],
        "certfile": "/etc/x/c.pem",
        "keyfile": "/etc/x/k.pem",
        "process_group": {"a": {"home": "/etc/x/h", "python": "/etc/x/venv/bin/python", "python_path": ["/etc/x/p"]}},
    }
    assert found.places["certfile",].line == 6
    assert found.places["keyfile",].line == 7


def test_rules_that_others_hang_on(translated) -> None:
    """What is left out still stands where [C] and [S] of it, or of a rule before it, count rules."""
    found = translated(
        f"{RULES}RewriteRule ^/a /b\nRewriteRule ^/s - [S=1]\nRewriteRule ^/b /c [NC]\n"
        "RewriteRule ^/c /d [C]\nRewriteRule ^/d - [E=A:1]"
    )
    assert found.mapping["rewrite"] == [
        {"match": "^/s", "skip": 1},
        {"match": "^/b", "nocase": True},
        {"match": "^/c", "chain": True},
        {"match": "^/d", "env": {"A": "1"}},
    ]
