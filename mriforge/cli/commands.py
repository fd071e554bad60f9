"""Commands of click, made from the options that the jobs declare."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from mriforge import __version__
from mriforge.cli.show import show_result
from mriforge.console import ConsoleEvents
from mriforge.errors import EXIT_OK, BadInput, Cancelled
from mriforge.jobs import COMMANDS, Request, check_request, command_named, run_request
from mriforge.jobs.options import Spec, from_text, label, specs
from mriforge.jobs.process import quiet_libraries, stoppable

_METAVARS = {
    "number": "X",
    "integer": "N",
    "input": "FILE",
    "files": "FILE",
    "inputs": "NAME=FILE",
    "settings": "NAME=VALUE",
    "output": "FILE",
    "folder": "DIR",
    "text": "NAME",
    "device": "DEVICE",
}


def run_command_line(arguments: list[str]) -> int:
    """Runs one command; errors are raised, usage errors as :class:`BadInput`."""
    group = _Group(
        name="mriforge",
        help="Sharper MR images, on the machine the scan is on.",
        epilog="`mriforge COMMAND --help` explains a command; `mriforge demo` shows the main one.",
    )
    group.params.append(_version_option())
    try:
        code = group.main(arguments, prog_name="mriforge", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as help_wanted:
        click.echo(help_wanted.format_message())
        return EXIT_OK
    except click.UsageError as error:
        raise _explained(error) from error
    except click.Abort:
        raise Cancelled("The job was cancelled.") from None
    return code if isinstance(code, int) else EXIT_OK


class _Group(click.Group):
    """The commands of the jobs table; a command's module is imported when it is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return _command(name) if name in COMMANDS else None

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not arguments[0].startswith("-"):
            command_named(arguments[0])
        return super().resolve_command(context, arguments)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])


def _command(name: str) -> click.Command:
    module = COMMANDS[name].load()
    options = module.Options
    defaults = {item.name: item.default for item in dataclasses.fields(options)}
    params: list[click.Parameter] = [
        _parameter(option, spec, defaults[option]) for option, spec in specs(options).items()
    ]
    params.append(click.Option(["-q", "--quiet"], is_flag=True, help="no progress on stderr"))
    params.append(click.Option(["--debug"], is_flag=True, help="show a traceback on errors"))

    def run(quiet: bool, debug: bool, **texts: Any) -> int:
        return _run(name, _values(specs(options), texts), quiet)

    return click.Command(name, params=params, callback=run, help=module.__doc__)


def _run(name: str, values: dict[str, Any], quiet: bool) -> int:
    request = Request(name, values)
    # Refused before anything is drawn or torch is imported: a wrong file name answers at once.
    options = check_request(request)
    control = request.control()
    with (
        quiet_libraries(),
        stoppable(control),
        ConsoleEvents(control=control, quiet=quiet) as events,
    ):
        result = run_request(request, events)
    return show_result(name, result, options)


def _parameter(name: str, spec: Spec, default: Any) -> click.Parameter:
    """Texts only: :mod:`mriforge.jobs.options` checks them, so that messages are the same."""
    required = default is dataclasses.MISSING
    if spec.positional:
        # Several files take what the positional values after them leave over.
        count = -1 if spec.kind == "files" else 1
        return click.Argument([name], required=required, metavar=spec.positional, nargs=count)
    flag = label(name, spec)
    if spec.kind == "flag":
        # None means "not given": the default belongs to the job.
        switch = f"{flag}/--no-{flag[2:]}" if default is True else flag
        return click.Option([switch, name], is_flag=True, default=None, help=spec.help)
    metavar = spec.metavar or "|".join(spec.choices) or _METAVARS.get(spec.kind, "X")
    return click.Option(
        [flag, name],
        metavar=metavar,
        help=spec.help,
        required=required,
        multiple=spec.kind in ("files", "inputs", "settings"),
    )


def _values(known: dict[str, Spec], texts: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in texts.items():
        if text is None or text == ():
            continue
        spec = known[name]
        if spec.kind in ("inputs", "settings"):
            values[name] = dict(_name_and_value(name, spec, item) for item in text)
        elif spec.kind == "files":
            values[name] = list(text)
        elif isinstance(text, str):
            values[name] = from_text(name, spec, text)
        else:
            values[name] = text
    return values


def _name_and_value(name: str, spec: Spec, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key or not value:
        raise BadInput(f"{label(name, spec)} needs {_METAVARS[spec.kind]}, not '{text}'.")
    return key, value


def _version_option() -> click.Option:
    def show(context: click.Context, option: click.Parameter, value: bool) -> None:
        if value and not context.resilient_parsing:
            click.echo(f"mriforge {__version__}")
            context.exit()

    return click.Option(
        ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=show
    )


def _explained(error: click.UsageError) -> BadInput:
    """A usage message of click as one sentence with a hint."""
    where = error.ctx.command_path if error.ctx is not None else "mriforge"
    message = " ".join(error.format_message().split())
    if isinstance(error, click.MissingParameter) and error.param is not None:
        missing = error.param.metavar if error.param.param_type_name == "argument" else None
        missing = missing or error.param.opts[-1]
        message = f"{missing} is missing."
    if message and message[-1] not in ".?!)":
        message += "."
    return BadInput(message, f"See `{where} --help`.")
