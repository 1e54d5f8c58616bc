"""The tables of the database of events, and how they came to be."""

from __future__ import annotations

MIGRATIONS = (
    """
    CREATE TABLE events (
        id TEXT PRIMARY KEY,
        source TEXT NOT NULL,
        label TEXT NOT NULL,
        onset TEXT NOT NULL,
        ended INTEGER NOT NULL,
        event TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX events_by_onset ON events (onset);
    CREATE INDEX events_open ON events (ended) WHERE ended = 0;
    CREATE TABLE outbox (
        row INTEGER PRIMARY KEY AUTOINCREMENT,
        topic TEXT NOT NULL,
        payload TEXT NOT NULL,
        stored REAL NOT NULL
    );
    -- Rows of a database that was begun again differ from those of the one before.
    INSERT INTO sqlite_sequence
        VALUES ('outbox', CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER));
    """,
    """
    CREATE INDEX events_by_source ON events (source, onset);
    CREATE INDEX events_by_label ON events (label, onset);
    CREATE INDEX events_by_both ON events (source, label, onset);
    CREATE TABLE verdicts (
        id TEXT PRIMARY KEY,
        verdict TEXT NOT NULL,
        note TEXT NOT NULL,
        given TEXT NOT NULL
    ) WITHOUT ROWID;
    -- How many events began in each quarter of an hour: every time zone differs by whole quarters.
    CREATE TABLE quarters (
        start TEXT NOT NULL,
        source TEXT NOT NULL,
        label TEXT NOT NULL,
        events INTEGER NOT NULL,
        PRIMARY KEY (start, label, source)
    ) WITHOUT ROWID;
    INSERT INTO quarters
        SELECT substr(onset, 1, 14) || substr('00153045', substr(onset, 15, 2) / 15 * 2 + 1, 2),
            source, label, count(*) FROM events GROUP BY 1, 2, 3;
    CREATE TRIGGER event_counted AFTER INSERT ON events BEGIN
        INSERT INTO quarters VALUES (
            substr(new.onset, 1, 14)
                || substr('00153045', substr(new.onset, 15, 2) / 15 * 2 + 1, 2),
            new.source, new.label, 1
        ) ON CONFLICT DO UPDATE SET events = events + 1;
    END;
    CREATE TRIGGER event_forgotten AFTER DELETE ON events BEGIN
        UPDATE quarters SET events = events - 1
            WHERE source = old.source AND label = old.label AND start = substr(old.onset, 1, 14)
                || substr('00153045', substr(old.onset, 15, 2) / 15 * 2 + 1, 2);
    END;
    """,
    """
    -- Topics on which brokers retain what was published; see `storage.retained`.
    CREATE TABLE retained (
        host TEXT NOT NULL,
        port INTEGER NOT NULL,
        topic TEXT NOT NULL,
        PRIMARY KEY (host, port, topic)
    ) WITHOUT ROWID;
    """,
    """
    -- Of second opinions, to search events by: see `core.opinion_vectors`.
    CREATE TABLE vectors (
        id TEXT PRIMARY KEY,
        checkpoint TEXT NOT NULL,
        identity TEXT NOT NULL,
        sound BLOB,
        picture BLOB,
        both BLOB
    );
    CREATE TRIGGER vectors_forgotten AFTER DELETE ON events BEGIN
        DELETE FROM vectors WHERE id = old.id;
    END;
    """,
)
"""From each version of the schema to the next."""
