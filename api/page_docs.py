"""The description of the API for people: Swagger UI, from the files that the package fastapi-swagger brings.

Nothing comes from another host: a script of somebody else's could read the keys that are put into this page's forms,
and a machine may have no way to the internet.

It knows files. It does not know what the API answers: the page reads that from ``/openapi.json``.
"""

from __future__ import annotations

from functools import partial
from importlib.resources import files

from fastapi import FastAPI, Request, Response

from api.page_frame import add_pages, read_files, send_file, show
from api.settings import Settings

_PACKAGE = "fastapi_swagger.resources"


def add_routes(app: FastAPI, settings: Settings) -> None:
    """Add the routes of this room to an app; they ask for no key, as the description does not."""
    brought = read_files(files(_PACKAGE))

    async def docs(request: Request) -> Response:
        """The description."""
        return show(request, "docs.html", title=app.title, files={name: one.digest for name, one in brought.items()})

    async def docs_file(name: str, request: Request) -> Response:
        """A file of Swagger UI."""
        return send_file(request, brought, name)

    add = partial(add_pages, app, settings, None)
    add({"/docs": docs, "/docs/{name}": docs_file})
