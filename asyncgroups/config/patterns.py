"""Regular expressions, compiled by an engine that gives up in time.

Law: nothing but the engine. Imports regex, ``errors`` and ``selection.patterns``.

A path comes from a client, and an expression from somebody who did not think of every path. Measured, in milliseconds:
``^/(a|aa)+$`` on 40 letters; ``^(.*)/(.*)/(.*)/(.*)/(.*)wsgi$`` on 400 slashes; an ordinary match, which finds.

    re          > 3000   > 3000    0.0002
    regex       > 3000       4     0.0003    with a timeout of 10: 10 and 6; an ordinary match then takes 0.002
    regress     > 3000   > 3000    0.0002
    pcre2           55       0.01  0.0007    the first reaches its limit; no wheel for 3.15
    google-re2    0.03       0.09  0.003     no wheel for 3.15; no look-around, no back-references
    rure          0.04       0.08  0.003     last released in 2019; as google-re2

regex has wheels for each Python, is looked after, and reads what is written for Apache (PCRE): look-around, possessive
and atomic groups, ``[[:alpha:]]``. Its timeout bounds what a client can cost.
"""

import time

import regex

from asyncgroups.errors import PatternSyntaxError, PatternTooSlow
from asyncgroups.selection.patterns import Groups

__all__ = ["BUDGET", "LONGEST_TEXT", "Expression"]

BUDGET = 0.002
"""Seconds of its thread's time that one search may take; an ordinary one takes 0.000002."""

LONGEST_TEXT = 8192
"""Characters that are searched; what is longer takes too long.

The engine looks at its clock between steps, and one of them may go through all of the text: ``\\w+\\d`` took 100 ms on
60,000 letters, and takes 12 on these. Apache has no longer lines of a request (LimitRequestLine) or of its head.
"""


# What is not looked into: a backslash and what it escapes, a bracket (a "]" that comes first in it is a character).
_ENDS: regex.Pattern[str] = regex.compile(r"\\.|\[\^?\]?(?:\[:\^?[a-z]+:\]|\\.|[^\]\\])*+\]|\$", regex.DOTALL)


class Expression:
    """A regular expression as Apache reads it (PCRE), on text.

    text: as written. Raises PatternSyntaxError.
    nocase: whether capital and small ASCII letters are the same ([NC]). groups: how many there are.
    """

    __slots__ = ("_search", "groups", "text")

    def __init__(self, text: str, *, nocase: bool = False) -> None:
        self.text: str = text
        # ASCII: what a byte is for Apache. `\w` is no letter that a file system might spell in two ways.
        flags = regex.VERSION0 | regex.ASCII | (regex.IGNORECASE if nocase else 0)
        try:
            compiled = regex.compile(_with_strict_ends(text), flags)
        except regex.error as error:
            # The position is one in the expression as it was handed on: beyond a "$" it may be off by some characters.
            at = min(getattr(error, "pos", None) or 0, max(len(text) - 1, 0))
            raise PatternSyntaxError(text, (at, at + 1), getattr(error, "msg", str(error))) from None
        except (ValueError, RecursionError) as error:  # flags that exclude each other; a thousand brackets
            said = str(error) if isinstance(error, ValueError) else "the expression is nested too deeply"
            raise PatternSyntaxError(text, (0, len(text)), said) from None
        self.groups: int = compiled.groups
        self._search = compiled.search

    def __repr__(self) -> str:
        return f"<Expression: {self.text}>"

    def __str__(self) -> str:
        return self.text

    def search(self, text: str) -> Groups | None:
        """Find the first match anywhere in ``text``; None without one. Raises PatternTooSlow."""
        if len(text) > LONGEST_TEXT:
            raise PatternTooSlow(f"the regular expression {self.text!a} is not for {len(text)} characters")
        try:
            found = self._search(text, timeout=BUDGET)
        except TimeoutError:
            found = self._search_again(text)
        return None if found is None else (found[0], *found.groups())

    def _search_again(self, text: str) -> regex.Match[str] | None:
        """Search until ``BUDGET`` has really been spent on it.

        The engine reads the clock of the whole process: where sixteen interpreters are at work it runs sixteen times as
        fast, and a thread that the kernel has put aside for a moment finds all its time gone.
        """
        begun = time.thread_time()
        while time.thread_time() - begun < BUDGET:
            try:
                return self._search(text, timeout=BUDGET)
            except TimeoutError:
                continue
        raise PatternTooSlow(f"the regular expression {self.text!a} takes too long on {text[:100]!a}")


def _with_strict_ends(text: str) -> str:
    """The expression with ``\\Z`` for ``$``: in Apache that matches at the very end only, not before a last newline.

    (AP_REG_DOLLAR_ENDONLY, the default since Apache 2.4.30.) Not inside brackets, after a backslash, or with (?m).
    """
    if "$" not in text or regex.search(r"\(\?[a-z]*m", text):
        return text
    return _ENDS.sub(lambda found: r"\Z" if found[0] == "$" else found[0], text)
