"""A module that two applications of one group import."""

import itertools

calls = itertools.count(1)
