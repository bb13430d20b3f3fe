# SPDX-License-Identifier: Apache-2.0
"""``narrows completion``: what a shell needs to complete command lines of narrows.

The shell runs ``narrows`` itself with ``_ARGCOMPLETE`` in its environment at each press of the tab
key; what may come next follows from the parser, so nothing has to be kept up to date.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import Any

import argcomplete

SHELLS = ("bash", "zsh", "fish")
_HELP = """\
bash:  eval "$(narrows completion bash)"     in ~/.bashrc
zsh:   eval "$(narrows completion zsh)"      in ~/.zshrc, behind compinit
fish:  narrows completion fish | source      in ~/.config/fish/config.fish"""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "completion",
        help="print what makes a shell complete command lines",
        description="Print what makes a shell complete command lines of narrows.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    print(argcomplete.shellcode(["narrows"], shell=arguments.shell))
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Tell the shell that has asked what may come next, and end the process."""
    for action in _actions(parser):
        if action.dest in _COMPLETERS:
            # How argcomplete is told; argparse knows nothing of it.
            setattr(action, "completer", _COMPLETERS[action.dest])  # noqa: B010
    argcomplete.autocomplete(parser)


def _actions(parser: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    """The actions of a parser and of its subcommands."""
    for action in parser._actions:
        yield action
        if isinstance(action.choices, dict):
            for subparser in action.choices.values():
                yield from _actions(subparser)


def _boards(prefix: str, **_: Any) -> list[str]:
    from narrows.boards import load_boards  # commands are completed without it

    return [board.name for board in load_boards() if board.name.startswith(prefix)]


def _targets(prefix: str, **_: Any) -> list[str]:
    from narrows.boards import load_boards

    emulated = [f"{b.emulator}:{b.name}" for b in load_boards() if b.emulator is not None]
    known = ("host", "all", "serial:", "labgrid:", *emulated)
    return [target for target in known if target.startswith(prefix)]


_COMPLETERS: dict[str, Callable[..., list[str]]] = {"board": _boards, "target": _targets}
