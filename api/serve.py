"""``dongil serve`` and ``dongil key``: the service from the command line, and the keys that open it.

Thin: flags become settings. It does not know how anything is served.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from api.console import plain_failures, stderr
from api.keys import KeyScope
from api.options import DeviceName, IdColumn, Model, Threads, TitleColumn

_KEYS_FILE = "DONGIL_API_KEYS_FILE"


class ServeCommand(TyperCommand):
    """``dongil serve``, whose help ends with every setting, read when somebody asks for it."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as it is called
        """Write the settings."""
        from api.settings import settings_table

        formatter.write_paragraph()
        formatter.write_text("Settings, each also in the environment as DONGIL_ and its name in capitals:")
        with formatter.indentation():
            rows = [
                (name, meaning + (f"  [{default}]" if default else "")) for name, default, meaning in settings_table()
            ]
            formatter.write_dl(rows)


def serve(
    catalog: Annotated[str | None, typer.Option(help="File of items to take into the catalogue first.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder that keeps the catalogue; without one nothing outlives the service.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 127.0.0.1 by default, others need an API key.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 8000 by default.")] = None,
    model: Model = None,
    id_column: IdColumn = None,
    title_column: TitleColumn = None,
    threads: Threads = None,
    device: Annotated[DeviceName | None, typer.Option(help="Where to compute; auto by default.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="File of settings, TOML or JSON; by default the one in DONGIL_CONFIG, if any.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Any setting of the list below.")
    ] = None,
) -> None:
    """Serve a catalogue over HTTP, and a page to look at it.

    Flags win over DONGIL_ environment variables, and those over the file of settings. The first Ctrl-C ends it in good
    order, a second one at once.
    """
    with plain_failures():
        from api.server import serve as run
        from api.settings import read_settings

        flags = {
            "catalog": catalog, "data": data, "host": host, "port": port, "model": model, "id_column": id_column,
            "title_column": title_column, "threads": threads, "device": device,
        }  # fmt: skip
        given = _named(settings or []) | {name: value for name, value in flags.items() if value is not None}
        try:
            run(read_settings(config, **given))
        except KeyboardInterrupt:
            stderr().print("stopped")  # Ctrl-C is how a server is meant to end


def key(
    name: Annotated[str, typer.Argument(help="Of who gets the key; it stands in logs and trails.")],
    scope: Annotated[
        KeyScope, typer.Option(help="What it allows: to ask, to change items and labels too, or everything.")
    ] = "read",
    file: Annotated[
        Path | None, typer.Option(help=f"File of keys, made where there is none; by default the one in {_KEYS_FILE}.")
    ] = None,
) -> None:
    """Make an API key, print it once, and add its digest to the file of keys, which a running service reads again.

    The key itself is kept nowhere. To take it back, remove its entry from the file.
    """
    with plain_failures():
        from api.keys import add_key
        from embedder.errors import InputError

        named = os.environ.get(_KEYS_FILE)
        if file is None and not named:
            raise InputError(f"no file of keys; expected --file, or {_KEYS_FILE} to name one")
        kept = file or Path(named or "")
        made = add_key(kept, name, scope)
        stderr().print(f"{name} may {scope}; the key is shown this once, {kept} keeps its digest:", soft_wrap=True)
        typer.echo(made)


def _named(given: list[str]) -> dict[str, Any]:
    """The settings of ``--set``, each once."""
    from embedder.errors import InputError

    found: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name or name in found:
            raise InputError(f"--set is {one!r}; expected NAME=VALUE, each name once")
        found[name] = value
    return found
