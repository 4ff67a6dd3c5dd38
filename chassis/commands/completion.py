"""The ``completion`` command: what makes a shell complete the commands and options of a service's command line."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

SHELLS: Final = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete this command, to be evaluated by it.

    As in bash and zsh: eval "$(users-service completion bash)"; in fish: users-service completion fish | source
    """
    root = context.find_root()
    name = root.info_name or ""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell} is not known")
    click.echo(kind(root.command, {}, name, f"_{name}_COMPLETE".replace("-", "_").upper()).source())
