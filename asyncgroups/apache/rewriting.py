"""What one context says of variables that depend on the request, and what it inherits.

Law: pure. Imports the standard library and the modules of this room.

In Apache SetEnvIf comes before the rules, and the server's counts in virtual hosts as well; of its rules only
RewriteEngine does, unless RewriteOptions Inherit says otherwise (measured).
"""

from asyncgroups.apache import variables
from asyncgroups.apache.reading import Statement
from asyncgroups.apache.remarks import Remarks
from asyncgroups.apache.rules import bare, condition, rule
from asyncgroups.apache.tables import Table
from asyncgroups.apache.variables import conditional

__all__ = ["KEYS", "Rewriting"]

KEYS = frozenset({*variables.KEYS, "rewriteengine", "rewriteoptions", "rewritecond", "rewriterule", "rewritebase"})


class Rewriting:
    """The rules of the server or of a virtual host.

    conditional: those made of SetEnvIf. own: those of mod_rewrite. inside: those that stand in directories, which count
    last. is_on: RewriteEngine; None where nothing is said of it. inherits: whether it has the server's rules as well.
    """

    def __init__(self) -> None:
        self.conditional: list[Table] = []
        self.own: list[Table] = []
        self.is_on: bool | None = None
        self.inherits: bool = False
        self._comes_first = False
        self._conditions: list[tuple[Statement, Table]] = []
        self._rules: list[Statement] = []
        self.inside: list[Table] = []

    def __repr__(self) -> str:
        return f"<Rewriting: {len(self.conditional)} + {len(self.own)} rules>"

    def read(self, statement: Statement) -> str | None:
        """Take one statement; gives what a remark says."""
        words = [word.lower() for word in statement.arguments]
        table: Table | None
        match statement.key:
            case "rewritebase":
                return None  # it is about paths that rules make
            case "rewriteengine":
                self.is_on = words[:1] == ["on"]
                return None
            case "rewriteoptions":
                self.inherits = bool({"inherit", "inheritbefore"} & set(words))
                self._comes_first = "inheritbefore" in words
                if any(word.startswith("inheritdown") for word in words):
                    return "was not followed: write RewriteOptions Inherit into the virtual hosts"
                return None
            case "rewritecond":
                table, said = condition(statement)
                if table is not None:
                    self._conditions.append((statement, table))
            case "rewriterule":
                conditions = [one for _, one in self._conditions]
                table, said = rule(statement, conditions)
                self._conditions.clear()
                self._rules.append(statement)
                if table is None and len(words) > 1:
                    left_out = bare(statement, conditions)
                    if any({"chain", "skip"} & one.keys() for one in (*self.own, left_out)):
                        table = left_out
                if table is not None:
                    self.own.append(table)
            case _:
                table, said = conditional(statement, self.conditional)
                if table is not None:
                    self.conditional.append(table)
        return said

    def rules(self, server: Rewriting | None) -> list[Table]:
        """All rules that count here, in their order; ``server`` are those that a virtual host may inherit."""
        if server is None:
            return [*self.conditional, *(self.own if self.is_on else ()), *self.inside]
        found = [*server.conditional, *self.conditional]
        if self._counts(server):
            inherited = server.own if self.inherits else []
            found += [*inherited, *self.own] if self._comes_first else [*self.own, *inherited]
        return [*found, *self.inside]

    def kept(self) -> list[Table]:
        """What virtual hosts have of the server's, without asking for it."""
        return [*self.conditional, *self.inside]

    def remark(self, remarks: Remarks, server: Rewriting | None, *, is_reached: bool = True) -> None:
        """Tell what does not count. is_reached: whether the server's rules count anywhere."""
        for statement, _ in self._conditions:
            remarks.add(statement, "no RewriteRule follows it")
        for statement in self._rules:
            if not self._counts(server):
                remarks.add(statement, "without RewriteEngine On it does not count")
            elif not is_reached:
                remarks.add(statement, "counts in no virtual host without RewriteOptions Inherit")

    def _counts(self, server: Rewriting | None) -> bool:
        return bool(self.is_on if self.is_on is not None or server is None else server.is_on)
