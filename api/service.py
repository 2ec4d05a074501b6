"""The service: a durable catalogue, the model that answers for it, and the threads that do the work.

It knows how they are opened, handed to requests and closed. It does not know HTTP routes.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from api.batching import Batcher
from api.line import Line
from api.runner import Runner
from api.settings import Settings
from api.tasks import Tasks
from embedder.bundle import load_bundle
from embedder.encoder import Encoder
from index.catalog import Catalog
from index.decision import Decision
from index.items import read_items
from index.listings import Item
from index.living import LivingMatcher
from index.scene import Progress
from index.shelf import Shelf
from index.switching import encode_missing
from index.vectors import wants_gpu

_CHUNK = 5_000  # items put in one transaction
_DESKS = 4  # threads for what asks the store alone, so that no long search keeps it waiting


class Service:
    """What requests are answered with. Make one with ``load_service``; close it at the end.

    Attributes:
        settings: of this deployment.
        catalog: the store.
        batcher: answers titles of many requests together.
        line: for other work that computes.
        desk: for work that asks the store alone.
        shelf: the models that there are.
        runner: of the jobs.
    """

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        shelf: Shelf,
        living: LivingMatcher,
        batcher: Batcher,
        line: Line,
        desk: Line,
        closing: ExitStack,
    ) -> None:
        self.settings, self.catalog, self.batcher, self.line, self.desk = settings, catalog, batcher, line, desk
        self._living, self._closing = living, closing
        self.shelf = shelf
        self.runner = Runner(catalog, Tasks(self), settings.max_jobs, settings.keep_jobs_days)

    @property
    def living(self) -> LivingMatcher:
        """The catalogue as the model of the moment searches it. Take it once for a request: a switch replaces it."""
        return self._living

    @property
    def encoder(self) -> Encoder:
        """Of the model of the moment."""
        return self._living.encoder

    @property
    def decision(self) -> Decision:
        """Of the model of the moment."""
        return self._living.decision

    @property
    def busy(self) -> bool:
        """Whether somebody waits for what is computed."""
        return self.line.taken > 0 or self.batcher.titles > 0

    def switch(self, living: LivingMatcher) -> LivingMatcher:
        """Answer by another model from now on; returns the one before, for the caller to close."""
        before, self._living = self._living, living
        return before

    def close(self) -> None:
        """Finish what is being done, then close everything; jobs that run go on when the next service starts."""
        self.runner.close()
        self.batcher.close()
        self.line.close()
        self.desk.close()
        self._living.close()
        self._closing.close()


def load_service(settings: Settings, progress: Progress | None = None) -> Service:
    """Open the catalogue, take the items of the file that the settings name into it, and load the model.

    Without a data folder the catalogue stands in a temporary one, which goes when the service is closed.

    Raises:
        InputError: the model, the data folder or the file cannot be used.
    """
    with ExitStack() as opened:
        folder = settings.data or Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="dongil-")))
        catalog = opened.enter_context(Catalog.open(folder))
        shelf = Shelf(catalog, load_bundle(settings.model))
        encoder = Encoder(shelf.start("service").bundle, threads=settings.threads, device=settings.device)
        if settings.catalog is not None:
            import_file(catalog, settings, progress)
        encode_missing(catalog, encoder, progress)
        living = LivingMatcher.open(catalog, encoder, device=settings.device, progress=progress)
        # An index on a GPU is not safe for two searches at once, and one keeps the GPU busy.
        on_gpu = encoder.on_gpu or wants_gpu(settings.device)
        at_once = 1 if on_gpu else settings.max_concurrency
        batcher = Batcher(at_once, settings.max_titles)
        line, desk = Line(at_once, settings.max_queue), Line(_DESKS, settings.max_queue)
        service = Service(settings, catalog, shelf, living, batcher, line, desk, opened.pop_all())
    service.runner.start()
    return service


def import_file(catalog: Catalog, settings: Settings, progress: Progress | None = None) -> int:
    """Put the items of the file that the settings name into the catalogue; how many there are.

    Items that stand there already as the file has them are not touched, and others than the file's stay.

    Raises:
        InputError: the file cannot be read, or an item of it cannot be used; nothing is put then.
    """
    items = read_items(settings.catalog or "", id_column=settings.id_column, title_column=settings.title_column)
    for start in range(0, len(items), _CHUNK):
        rows = slice(start, start + _CHUNK)
        catalog.put([Item(id, title) for id, title in zip(items.ids[rows], items.titles[rows], strict=True)])
        if progress:
            progress("import", min(start + _CHUNK, len(items)), len(items))
    return len(items)
