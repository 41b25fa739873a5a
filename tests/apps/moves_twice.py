"""Would not load anywhere: what refuses in an interpreter hides what is wrong with it."""

import readline  # noqa: F401

raise RuntimeError("the true reason")
