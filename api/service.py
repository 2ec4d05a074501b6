"""The service: a durable catalogue, the model that answers for it, and the threads that do the work.

It knows how they are opened, handed to requests and closed. It does not know HTTP routes.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from api.line import Line
from api.settings import Settings, load_encoder
from embedder.encoder import Encoder
from index.catalog import Catalog
from index.decision import Decision
from index.items import read_items
from index.listings import Item
from index.living import LivingMatcher
from index.scene import Progress
from index.vectors import wants_gpu

_CHUNK = 5_000  # items put in one transaction
_BATCH = 8_192  # titles encoded at once before the service is ready
_DESKS = 4  # threads for what asks the store alone, so that no long search keeps it waiting


class Service:
    """What requests are answered with. Make one with ``load_service``; close it at the end.

    Attributes:
        settings: of this deployment.
        catalog: the store.
        line: for work that computes.
        desk: for work that asks the store alone.
    """

    def __init__(
        self, settings: Settings, catalog: Catalog, living: LivingMatcher, line: Line, desk: Line, closing: ExitStack
    ) -> None:
        self.settings, self.catalog, self.line, self.desk = settings, catalog, line, desk
        self._living, self._closing = living, closing

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

    def switch(self, living: LivingMatcher) -> LivingMatcher:
        """Answer by another model from now on; returns the one before, for the caller to close."""
        before, self._living = self._living, living
        return before

    def close(self) -> None:
        """Finish what is being done, then close everything."""
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
        encoder = load_encoder(settings)
        folder = settings.data or Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="dongil-")))
        catalog = opened.enter_context(Catalog.open(folder))
        if settings.catalog is not None:
            import_file(catalog, settings, progress)
        encode_missing(catalog, encoder, progress)
        living = LivingMatcher.open(catalog, encoder, device=settings.device, progress=progress)
        # An index on a GPU is not safe for two searches at once, and one keeps the GPU busy.
        on_gpu = encoder.on_gpu or wants_gpu(settings.device)
        line = Line(1 if on_gpu else settings.max_concurrency, settings.max_queue)
        return Service(settings, catalog, living, line, Line(_DESKS, settings.max_queue), opened.pop_all())


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


def encode_missing(catalog: Catalog, encoder: Encoder, progress: Progress | None = None) -> int:
    """Encode all titles that the model has no vector of; how many there were. What is done stays done when it stops."""
    missing, done, last = catalog.missing_count(encoder.fingerprint), 0, 0
    while some := catalog.missing_vectors(encoder.fingerprint, _BATCH, after=last):
        vectors = encoder.encode([one.title for one in some])
        catalog.put_vectors(encoder.fingerprint, [one.node for one in some], vectors)
        done, last = done + len(some), some[-1].node
        if progress:
            progress("encode", done, max(done, missing))
    return done
