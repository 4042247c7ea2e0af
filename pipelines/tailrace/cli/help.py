"""Help texts with whole words, whole sentences and examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from importlib import import_module
from typing import Any

import click

# A test says that no first sentence is longer: each is one line at 80 columns.
SHORT_HELP_CHARACTERS_MAX = 60
# Click wraps lines at hyphens, also inside of `--dry-run` and file names; this one it does not see.
_HYPHEN = "\N{NON-BREAKING HYPHEN}"


class _Formatter(click.HelpFormatter):
    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", _HYPHEN))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        whole = [(term, text.replace("-", _HYPHEN)) for term, text in rows]
        super().write_dl(whole, col_max, col_spacing)

    def getvalue(self) -> str:
        return super().getvalue().replace(_HYPHEN, "-")


class _Context(click.Context):
    formatter_class = _Formatter


class Command(click.Command):
    """A command whose help breaks no word."""

    context_class = _Context


class OrderedGroup(click.Group):
    """A group that lists its commands in the order of a first use.

    Click cuts the first sentences of help texts at the width of the terminal; here they are whole.
    """

    context_class = _Context
    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [
            (name, command.get_short_help_str(limit=SHORT_HELP_CHARACTERS_MAX))
            for name, command in self.commands.items()
            if not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class LazyGroup(OrderedGroup):
    """A group whose commands are imported when they are used.

    Args:
        modules: The module of each command, in the order of the list of commands. The module's
            `COMMANDS` has the command.
    """

    def __init__(self, *arguments: Any, modules: Mapping[str, str], **options: Any) -> None:
        self._modules = modules
        super().__init__(*arguments, **options)

    @property
    def commands(self) -> MutableMapping[str, click.Command]:
        """All commands, by their names."""
        return {name: self._imported(name) for name in self._modules}

    @commands.setter
    def commands(self, commands: MutableMapping[str, click.Command]) -> None:
        if commands:
            raise TypeError("The commands of this group are those of its modules")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self._imported(cmd_name) if cmd_name in self._modules else None

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._modules)

    def _imported(self, name: str) -> click.Command:
        commands: Iterable[click.Command] = import_module(self._modules[name]).COMMANDS
        return next(command for command in commands if command.name == name)


class SubGroup(OrderedGroup):
    """A group within the main group, whose options reach the commands of this one too."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        ctx.default_map = dict.fromkeys(self.commands, ctx.default_map or {})
        return super().invoke(ctx)


def examples(*lines: str) -> str:
    """The end of a command's help: command lines without the name of the program."""
    return "\b\nExamples:\n" + "\n".join(f"  tailrace {line}" for line in lines)
