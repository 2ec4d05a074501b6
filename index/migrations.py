"""The schema of the store, as the steps that lead to it: each is run once, in order, and never changed afterwards.

It knows tables and what holds between them. It does not know how they are read and written.
"""

from __future__ import annotations

_STATE = (
    # One row. `forgotten`: deletions up to this revision are no longer told. `named`: clusters that were given a name.
    """CREATE TABLE state (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        revision INTEGER NOT NULL, forgotten INTEGER NOT NULL, named INTEGER NOT NULL, cleaning INTEGER
    )""",
    "INSERT INTO state VALUES (1, 0, 0, 0, NULL)",
    """CREATE TABLE idempotency (
        key TEXT PRIMARY KEY, request BLOB NOT NULL, answer TEXT NOT NULL, expires REAL NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX idempotency_expires ON idempotency (expires)",
)

_ITEMS = (
    # A node is a cleaned title, kept as its digest; items with equal ones share it and its vectors. Numbers are never
    # used again, so that whoever follows the catalogue cannot take a new node for an old one.
    "CREATE TABLE nodes (node INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE)",
    """CREATE TABLE items (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, seller TEXT, category TEXT,
        extra TEXT NOT NULL, node INTEGER NOT NULL REFERENCES nodes, cluster TEXT,
        created INTEGER NOT NULL, updated INTEGER NOT NULL
    )""",
    "CREATE INDEX items_seller ON items (seller, id) WHERE seller IS NOT NULL",
    "CREATE INDEX items_category ON items (category, id) WHERE category IS NOT NULL",
    "CREATE INDEX items_cluster ON items (cluster, id)",
    "CREATE INDEX items_node ON items (node)",
    "CREATE INDEX items_updated ON items (updated)",
    "CREATE TABLE deleted (id TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX deleted_revision ON deleted (revision)",
)

_VECTORS = (
    "CREATE TABLE models (model INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, dimension INTEGER NOT NULL)",
    """CREATE TABLE vectors (
        place INTEGER PRIMARY KEY, model INTEGER NOT NULL REFERENCES models,
        node INTEGER NOT NULL REFERENCES nodes ON DELETE CASCADE, revision INTEGER NOT NULL, vector BLOB NOT NULL
    )""",
    "CREATE UNIQUE INDEX vectors_node ON vectors (node, model)",
    "CREATE INDEX vectors_revision ON vectors (model, revision)",
)

_CLUSTERS = (
    # Kept by triggers, so that no write can forget it. A cluster that has changed is no longer rated.
    "CREATE TABLE clusters (id TEXT PRIMARY KEY, size INTEGER NOT NULL, cohesion REAL) WITHOUT ROWID",
    "CREATE INDEX clusters_largest ON clusters (-size, id)",
    "CREATE INDEX clusters_loosest ON clusters (ifnull(cohesion, 2.0), id)",
    """CREATE TRIGGER item_leaves AFTER UPDATE OF cluster ON items WHEN old.cluster IS NOT new.cluster BEGIN
        UPDATE clusters SET size = size - 1, cohesion = NULL WHERE id = old.cluster;
        DELETE FROM clusters WHERE id = old.cluster AND size = 0;
    END""",
    """CREATE TRIGGER item_joins AFTER UPDATE OF cluster ON items
    WHEN old.cluster IS NOT new.cluster AND new.cluster IS NOT NULL BEGIN
        INSERT INTO clusters (id, size) VALUES (new.cluster, 1)
        ON CONFLICT (id) DO UPDATE SET size = size + 1, cohesion = NULL;
    END""",
    """CREATE TRIGGER item_goes AFTER DELETE ON items WHEN old.cluster IS NOT NULL BEGIN
        UPDATE clusters SET size = size - 1, cohesion = NULL WHERE id = old.cluster;
        DELETE FROM clusters WHERE id = old.cluster AND size = 0;
    END""",
    """CREATE TABLE events (
        event INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, who TEXT NOT NULL, by_hand INTEGER NOT NULL,
        at REAL NOT NULL, revision INTEGER NOT NULL, detail TEXT NOT NULL
    )""",
    # Not bound to items: the trail outlives them.
    """CREATE TABLE moves (
        event INTEGER NOT NULL REFERENCES events, item TEXT NOT NULL, before TEXT, after TEXT,
        PRIMARY KEY (event, item)
    ) WITHOUT ROWID""",
    "CREATE INDEX moves_item ON moves (item)",
    "CREATE INDEX moves_before ON moves (before) WHERE before IS NOT NULL",
    "CREATE INDEX moves_after ON moves (after) WHERE after IS NOT NULL",
)

_LABELS = (
    """CREATE TABLE labels (
        of TEXT NOT NULL CHECK (of IN ('items', 'titles')), left TEXT NOT NULL, right TEXT NOT NULL,
        left_title TEXT NOT NULL, right_title TEXT NOT NULL,
        verdict TEXT NOT NULL CHECK (verdict IN ('same', 'different', 'skip')),
        who TEXT NOT NULL, at REAL NOT NULL, revision INTEGER NOT NULL,
        PRIMARY KEY (of, left, right), CHECK (left < right)
    ) WITHOUT ROWID""",
    "CREATE INDEX labels_revision ON labels (revision)",
)

_JOBS = (
    """CREATE TABLE jobs (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
        phase TEXT NOT NULL, done INTEGER NOT NULL, total INTEGER NOT NULL,
        request TEXT NOT NULL, result TEXT NOT NULL, error TEXT, cancelling INTEGER NOT NULL,
        created REAL NOT NULL, started REAL, updated REAL NOT NULL, finished REAL
    )""",
    "CREATE INDEX jobs_state ON jobs (state, number)",
)

_ACTIVATIONS = (
    # Each model that was put to work. `previous`: the entry whose model comes back when this one is taken back.
    """CREATE TABLE activations (
        activation INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, fingerprint TEXT NOT NULL,
        digest TEXT NOT NULL, outside INTEGER NOT NULL, who TEXT NOT NULL, at REAL NOT NULL,
        previous INTEGER REFERENCES activations, clustered INTEGER NOT NULL
    )""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (*_STATE, *_ITEMS, *_VECTORS, *_CLUSTERS, *_LABELS, *_JOBS),
    _ACTIVATIONS,
)
"""Step n, counted from 1, makes schema n of schema n - 1."""
