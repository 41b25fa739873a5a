"""The tables [[rewrite]] -> rules that set variables.

Law: pure. Notes every problem and goes on. May import ``errors``, ``selection`` and ``config.merging``,
``config.model``, ``config.problems``. What compiles regular expressions is imported where there is one: it takes 27 ms,
and most configurations have none.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from asyncgroups.config.merging import Context
from asyncgroups.config.model import ConditionSection, RewriteSection
from asyncgroups.config.problems import Problems
from asyncgroups.config.words import Loc
from asyncgroups.errors import PatternSyntaxError
from asyncgroups.selection.rewrite import Condition, Equal, Rule, Template

if TYPE_CHECKING:
    from asyncgroups.config.patterns import Expression

__all__ = ["expression", "rules"]

SUBJECTS = ("test", "host", "method", "header")
WANTED = ("match", "not_match", "equals", "not_equals")
SHORT = {"host": "%{HTTP_HOST}", "method": "%{REQUEST_METHOD}"}


def expression(text: str, *, loc: Loc, problems: Problems, nocase: bool = False) -> Expression | None:
    """A regular expression, compiled; None where it is none, which is a problem at ``loc``.

    nocase: whether capital and small letters are the same.
    """
    from asyncgroups.config.patterns import Expression  # noqa: PLC0415 - the law of this module

    try:
        return Expression(text, nocase=nocase)
    except PatternSyntaxError as error:
        problems.add(loc, str(error))
        return None


def rules(
    sections: Iterable[tuple[Context[RewriteSection], tuple[Context[ConditionSection], ...]]], problems: Problems
) -> tuple[Rule, ...]:
    """The rules of one context, each section with its conditions; wrong ones are left out."""
    found = (_rule(*section, problems=problems) for section in sections)
    return tuple(rule for rule in found if rule is not None)


def _rule(
    context: Context[RewriteSection], conditions: tuple[Context[ConditionSection], ...], *, problems: Problems
) -> Rule | None:
    loc, section = context
    key = _only(loc, section, ("match", "not_match"), problems=problems)
    if key is None:
        return None
    path = expression(getattr(section, key), loc=(*loc, key), nocase=section.nocase, problems=problems)
    env: list[tuple[str, Template | None]] = [(name, None) for name in section.unset]
    for name, text in (section.env or {}).items():
        env.append((name, _template(text, loc=(*loc, "env", name), problems=problems)))
    found = [_condition(condition, problems) for condition in conditions]
    if path is None:
        return None
    return Rule(
        path=path,
        negated=key == "not_match",
        conditions=tuple(condition for condition in found if condition is not None),
        env=tuple(env),
        is_chained=section.chain,
        skip=section.skip,
        is_last=section.last,
        place=problems.words.place(loc),
    )


def _condition(context: Context[ConditionSection], problems: Problems) -> Condition | None:
    loc, section = context
    subject = _only(loc, section, SUBJECTS, problems=problems)
    if subject is None:
        return None
    if subject in SHORT:
        for other in (other for other in WANTED if getattr(section, other) is not None):
            problems.add((*loc, other), f"{subject} says already what is wanted; write {SHORT[subject]} as test")
        key, text = subject, SHORT[subject]
    else:
        wanted = _only(loc, section, WANTED, problems=problems)
        if wanted is None:
            return None
        key, text = wanted, section.test if section.test is not None else f"%{{HTTP:{section.header}}}"
    test = _template(text, loc=(*loc, subject), problems=problems)
    what = Equal(getattr(section, key), section.nocase)
    pattern = (
        what
        if "equals" in key
        else expression(getattr(section, key), loc=(*loc, key), nocase=section.nocase, problems=problems)
    )
    if test is None or pattern is None:
        return None
    return Condition(test=test, wanted=pattern, negated=key.startswith("not_"), or_next=section.or_next)


def _template(text: str, *, loc: Loc, problems: Problems) -> Template | None:
    try:
        return Template(text)
    except PatternSyntaxError as error:
        problems.add(loc, str(error))
        return None


def _only(
    loc: Loc, section: RewriteSection | ConditionSection, keys: tuple[str, ...], *, problems: Problems
) -> str | None:
    """The one of these keys that is given; None where there is none, or more."""
    given = [key for key in keys if getattr(section, key) is not None]
    if len(given) == 1:
        return given[0]
    *others, last = keys
    if given:
        problems.add((*loc, given[1]), f"stands beside {given[0]}; there is only one of {', '.join(others)} and {last}")
    else:
        problems.add(loc, f"has none of {', '.join(others)} and {last}; it needs one")
    return None
