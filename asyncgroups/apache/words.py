"""Directives that are not translated: which of them say nothing that matters here, and what the others mean.

Law: tables of words. Imports nothing. Names are in small letters, as they are compared.
"""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["ACCESS", "FILES", "MEANINGS", "NEUTRAL", "NO_COUNTERPART", "SHARED"]

NO_COUNTERPART = "has no counterpart; if requests depend on it, a server in front has to do it"

# They say how Apache itself is built, run and logged, and nothing of which application answers, and how.
NEUTRAL: frozenset[str] = frozenset(
    {
        *[
            "acceptfilter",
            "defaultruntimedir",
            "define",
            "hostnamelookups",
            "loadfile",
            "loadmodule",
            "mutex",
            "pidfile",
        ],
        *[
            "rewriteoptions",
            "serveradmin",
            "serverroot",
            "serversignature",
            "servertokens",
            "traceenable",
            "typesconfig",
        ],
        *[
            "wsgisocketrotation",
            "wsgidontwritebytecode",
            "wsgidestroyinterpreter",
            "wsgicasesensitivity",
            "wsgiservermetrics",
        ],
        *["undefine", "usecanonicalname", "usecanonicalphysicalport", "wsgiacceptmutex", "wsgisocketprefix"],
        *["wsgilazyinitialization", "wsgiverbosedebugging", "addtype"],
        *["maxconnectionsperchild", "maxrequestworkers", "maxsparethreads", "minsparethreads", "serverlimit"],
        *["startservers", "threadlimit", "threadsperchild", "maxclients", "maxspareservers", "minspareservers"],
        *["keepalive", "keepalivetimeout", "maxkeepaliverequests", "coredumpdirectory", "scoreboardfile"],
        *["extendedstatus", "seerequesttail"],
        *["indexoptions", "addlanguage", "addcharset", "adddefaultcharset", "languagepriority"],
    }
)

_LOG = "asyncgroups writes its log to standard error (log_level)"
ACCESS = "ACCESS IS NOT CHECKED: whoever reaches the server reaches this as well"
HTACCESS = ".htaccess files are not read: who is refused there is not refused here, and what they set is not set"
_NOT_DONE = "it is not done: whatever else covers the path answers, or it is answered 404"
_NOT_PASSED = "nothing is passed on: whatever else covers the path answers, or it is answered 404"
_RESTRICTED = "there is no such restriction: sys.stdin is empty, and what is printed goes to the log"
_MODULES = "it is the server's own Python that runs applications; a process group may have one of its own (python)"

_OF_ACCESS = (
    *[
        "authbasicauthoritative",
        "authbasicfake",
        "authbasicusedigestalgorithm",
        "authdbduserpwquery",
        "authdbmuserfile",
    ],
    *["authdigestprovider", "authdigestdomain", "authdigestqop", "authformprovider", "authgroupfile", "authldapurl"],
    *["authldapbinddn", "authldapbindpassword", "authdbmgroupfile", "authmerging", "authzdbdquery"],
    *["sslrequire", "sslrequiressl", "sslverifyclient", "secrule", "secruleengine", "secaction"],
)

FILES = "asyncgroups serves no files but scripts: a server in front, or an application, has to send them"
_OF_FILES = (
    *["addalt", "addaltbyencoding", "addaltbytype", "adddescription", "addencoding", "addicon", "addiconbyencoding"],
    *[
        "addiconbytype",
        "addinputfilter",
        "addoutputfilter",
        "addoutputfilterbytype",
        "defaulticon",
        "deflatecompressionlevel",
    ],
    *[
        "expiresactive",
        "expiresbytype",
        "expiresdefault",
        "fileetag",
        "forcelanguagepriority",
        "forcetype",
        "headername",
    ],
    *[
        "indexheadinsert",
        "indexignore",
        "indexorderdefault",
        "indexstylesheet",
        "readmename",
        "removetype",
        "enablemmap",
    ],
    *["enablesendfile", "multiviewsmatch", "setoutputfilter", "setinputfilter", "xbithack"],
)

MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(_OF_FILES, FILES),
        "accessfilename": ".htaccess files are not read",
        "action": _NOT_DONE,
        "aliasmatch": _NOT_DONE,
        "allow": ACCESS,
        "allowmethods": ACCESS,
        "allowoverride": HTACCESS,
        "allowoverridelist": HTACCESS,
        **dict.fromkeys(_OF_ACCESS, ACCESS),
        "authname": ACCESS,
        "authtype": ACCESS,
        "authuserfile": ACCESS,
        "authbasicprovider": ACCESS,
        "customlog": _LOG,
        "deny": ACCESS,
        "directoryindex": "what is a directory is answered 404: name the script in the URL",
        "else": "what is in it was left out",
        "elseif": "what is in it was left out",
        "errordocument": "errors are answered with a short text",
        "errorlog": _LOG,
        "files": "settings of single files have no counterpart; they were left out",
        "filesmatch": "settings of single files have no counterpart; they were left out",
        "group": "the server runs as whoever starts it; a process group may have a group of its own",
        "header": "headers are the application's, or a server's in front",
        "if": "what is in it was left out",
        "limit": ACCESS,
        "limitexcept": ACCESS,
        "limitrequestbody": "limits.request_body is the limit",
        "locationmatch": "its settings were left out",
        "logformat": _LOG,
        "loglevel": _LOG,
        "order": ACCESS,
        "passenv": "the variable is not set; env and process_env hold variables",
        "proxy": _NOT_PASSED,
        "proxypass": _NOT_PASSED,
        "proxypassmatch": _NOT_PASSED,
        "proxypassreverse": _NOT_PASSED,
        "redirect": _NOT_DONE,
        "redirectmatch": _NOT_DONE,
        "redirectpermanent": _NOT_DONE,
        "redirecttemp": _NOT_DONE,
        "removehandler": "the handler stays",
        "requestreadtimeout": "timeouts says what may take how long",
        "requestheader": "headers reach the application as they came",
        "require": ACCESS,
        "requireall": ACCESS,
        "requireany": ACCESS,
        "requirenone": ACCESS,
        "satisfy": ACCESS,
        "scriptalias": "CGI scripts are answered 404",
        "scriptaliasmatch": _NOT_DONE,
        "serverpath": "it is not looked at",
        "setenvif": "the variable is not set",
        "setenvifexpr": "the variable is not set",
        "sslcertificatechainfile": "certfile holds the certificate with its chain",
        "sslcertificatefile": "certfile is its name, of one certificate for all",
        "sslcertificatekeyfile": "keyfile is its name",
        "sslengine": "certfile and keyfile turn TLS on",
        "timeout": "timeouts says what may take how long",
        "unsetenv": "the variable stays",
        "user": "the server runs as whoever starts it; a process group may have a user of its own",
        "wsgiaccessscript": ACCESS,
        "wsgiauthgroupscript": ACCESS,
        "wsgiauthuserscript": ACCESS,
        "wsgichunkedrequest": "a request body of unknown length always reaches the application",
        "wsgidispatchscript": "its functions are not asked",
        "wsgienablesendfile": "files that applications return are read by the server",
        "wsgierroroverride": "the application's own answer is sent",
        "wsgigroupauthoritative": ACCESS,
        "wsgihandlerscript": _NOT_DONE,
        "wsgiignoreactivity": "every request counts for inactivity_timeout",
        "wsginewrelicconfigfile": "the application loads its agent itself",
        "wsginewrelicenvironment": "the application loads its agent itself",
        "wsgipassapacherequest": "environ has no apache.request",
        "wsgipythonhashseed": _MODULES,
        "wsgimapheadtoget": "HEAD reaches the application as HEAD",
        "wsgipythoneggs": "has no meaning for this Python",
        "wsgipythonhome": _MODULES,
        "wsgipythonoptimize": _MODULES,
        "wsgipythonwarnings": _MODULES,
        "wsgirestrictembedded": "leave out what runs in the server's own process: give each mount a process_group",
        "wsgirestrictprocess": "any process group that is configured may be chosen",
        "wsgirestrictsignal": "signal handlers belong to the server: an application's are refused where it has none",
        "wsgirestrictstdin": _RESTRICTED,
        "wsgirestrictstdout": _RESTRICTED,
        "wsgitrustedproxies": "the server in front is not asked; the client's address is what the server says",
        "wsgitrustedproxyheaders": "the server in front is not asked; the client's address is what the server says",
    }
)
"""What it means for the user that a directive or section is not translated."""

SHARED = frozenset({FILES, _LOG, _RESTRICTED, _MODULES})
"""Meanings that one line may tell of many directives."""
