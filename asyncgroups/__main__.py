"""``python -m asyncgroups``: the same as the command ``asyncgroups``. Imports ``cli`` only."""

from asyncgroups.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main(prog_name="python -m asyncgroups")
