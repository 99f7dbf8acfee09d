-- An incident of one detection is one row: what that detection stands on is a document of it
-- (`document.rs`), its evidence included. `upgrade.rs` fills these from the tables before.

CREATE TABLE listed (
    -- Of those that this schema has stored: the revision with which it was born. Larger than any before.
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL,                        -- each once: a commit looks before it adds one
    rule TEXT NOT NULL,
    title TEXT NOT NULL,
    severity INTEGER NOT NULL,               -- 0 info .. 4 critical
    site TEXT NOT NULL,
    area TEXT,
    person TEXT,
    state TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    config_hash TEXT NOT NULL,
    detections INTEGER NOT NULL,
    events INTEGER NOT NULL,                 -- distinct ones that are kept
    evidence_omitted INTEGER NOT NULL,
    revision INTEGER NOT NULL,               -- store-wide, grows with every change
    verification INTEGER NOT NULL,           -- 0 .. 4, TMA AVS-01
    suppressed INTEGER NOT NULL DEFAULT 0,   -- detections held back
    late TEXT,                               -- as of the detection that opened it
    assigned TEXT,                           -- to whom
    disposition TEXT,                        -- of a closed one: true-alarm, false-alarm, ...
    unshelved_state TEXT,                    -- of a shelved one: what it goes back to
    stale_at INTEGER,                        -- since when it is stale
    concluded_at INTEGER,                    -- by our own clock
    feeds TEXT NOT NULL,                     -- of its evidence, in order, one a line
    -- Of the detection that opened it. NULL: that one stands among the detections, since it was held back.
    opening BLOB
);
INSERT INTO listed SELECT n, id, rule, title, severity, site, area, person, state, opened_at, updated_at,
    config_hash, detections, events, evidence_omitted, revision, verification, suppressed, late, assigned,
    disposition, unshelved_state, stale_at, concluded_at, feeds, NULL FROM incident;
DROP TABLE incident;
ALTER TABLE listed RENAME TO incident;
-- Lists go along it from the newest on, and pass over what a filter leaves out without a look at the
-- row: one index in the place of five, each of which cost as much as the row itself.
CREATE INDEX incident_by_id ON incident (id, site, rule, severity, state);
-- Those that changed since they were born; of the others `n` tells.
CREATE INDEX incident_by_change ON incident (revision) WHERE revision <> n;

-- All the others.
CREATE TABLE further (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    incident INTEGER REFERENCES incident (n), -- NULL: in mode shadow, or held back
    rule TEXT NOT NULL,
    title TEXT NOT NULL,
    severity INTEGER NOT NULL,
    site TEXT NOT NULL,
    area TEXT,
    person TEXT,
    key TEXT NOT NULL,
    at INTEGER NOT NULL,
    document BLOB NOT NULL
);

-- Which events an incident of several detections has, to count them: a hash of id, kind and time.
CREATE TABLE cited (
    incident INTEGER NOT NULL REFERENCES incident (n),
    event INTEGER NOT NULL,
    PRIMARY KEY (incident, event)
) WITHOUT ROWID;
