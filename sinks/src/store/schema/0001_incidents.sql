-- The first schema. A migration is never edited once it left the house: add the next number.
-- Times are microseconds since 1970-01-01T00:00:00Z; ids are ULID-like text that begins with time,
-- so that rows are inserted nearly in order. Rowid tables on purpose: up to 3 times faster here.

CREATE TABLE site (
    name TEXT PRIMARY KEY,
    emitted_seq INTEGER NOT NULL            -- outputs of this site up to here stand in the store
) WITHOUT ROWID;

CREATE TABLE counter (                       -- what would cost a scan to count
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE incident (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
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
    detections INTEGER NOT NULL DEFAULT 0,
    events INTEGER NOT NULL DEFAULT 0,       -- distinct ones that are kept
    evidence_omitted INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0      -- store-wide, grows with every change
);
CREATE INDEX incident_by_state ON incident (state, id);
CREATE INDEX incident_by_site ON incident (site, id);
CREATE INDEX incident_by_rule ON incident (rule, id);
CREATE INDEX incident_by_severity ON incident (severity, id);
CREATE INDEX incident_by_revision ON incident (revision);

CREATE TABLE detection (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    incident INTEGER REFERENCES incident (n), -- NULL: a rule in mode shadow
    rule TEXT NOT NULL,
    title TEXT NOT NULL,
    severity INTEGER NOT NULL,
    site TEXT NOT NULL,
    area TEXT,
    person TEXT,
    key TEXT NOT NULL,
    at INTEGER NOT NULL,
    evidence_omitted INTEGER NOT NULL,
    why TEXT NOT NULL                        -- JSON: [[name, value], ...]
);
CREATE INDEX detection_by_incident ON detection (incident, at, id) WHERE incident IS NOT NULL;

CREATE TABLE event (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL,                        -- feed/device/id
    feed TEXT NOT NULL,
    kind TEXT NOT NULL,
    device TEXT NOT NULL,
    occurred INTEGER NOT NULL,
    recorded INTEGER NOT NULL,
    raw TEXT NOT NULL,
    -- A device whose ids wrap repeats an id over its life: the time tells its events apart.
    UNIQUE (id, occurred, kind)
);

CREATE TABLE detection_event (
    detection INTEGER NOT NULL REFERENCES detection (n),
    place INTEGER NOT NULL,                  -- the trigger is the last
    event INTEGER NOT NULL REFERENCES event (n),
    PRIMARY KEY (detection, place)
) WITHOUT ROWID;

CREATE TABLE incident_event (
    incident INTEGER NOT NULL REFERENCES incident (n),
    event INTEGER NOT NULL REFERENCES event (n),
    PRIMARY KEY (incident, event)
) WITHOUT ROWID;

CREATE TABLE incident_feed (
    incident INTEGER NOT NULL REFERENCES incident (n),
    feed TEXT NOT NULL,
    PRIMARY KEY (incident, feed)
) WITHOUT ROWID;

-- Text ids: an incident of another site may be linked to before its own output is stored.
CREATE TABLE link (
    incident TEXT NOT NULL,                  -- the newer one
    linked TEXT NOT NULL,                    -- the older one
    at INTEGER NOT NULL,
    PRIMARY KEY (incident, linked)
) WITHOUT ROWID;
CREATE INDEX link_back ON link (linked, incident);

CREATE TABLE timeline (
    n INTEGER PRIMARY KEY,
    incident INTEGER NOT NULL REFERENCES incident (n),
    at INTEGER NOT NULL,
    what TEXT NOT NULL,
    subject TEXT,                            -- the detection or the linked incident
    text TEXT NOT NULL
);
CREATE INDEX timeline_by_incident ON timeline (incident, n);

CREATE TABLE sink (
    n INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    configured INTEGER NOT NULL,             -- 0: gone from the configuration, rows wait
    pending INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE notification (
    n INTEGER PRIMARY KEY AUTOINCREMENT,     -- never used twice: dead letters are known by it
    id TEXT NOT NULL UNIQUE,                 -- derived: the receiver's idempotency key
    incident TEXT NOT NULL,
    body TEXT NOT NULL,
    open INTEGER NOT NULL                    -- outbox rows that still need the body
);

CREATE TABLE outbox (
    sink INTEGER NOT NULL REFERENCES sink (n),
    notification INTEGER NOT NULL REFERENCES notification (n),
    attempts INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (sink, notification)
) WITHOUT ROWID;

CREATE TABLE dead_letter (
    n INTEGER PRIMARY KEY,
    class TEXT NOT NULL,                     -- delivery (came in) or notification (went out)
    source TEXT NOT NULL,                    -- the source, or the sink
    position INTEGER NOT NULL,
    reason TEXT NOT NULL,
    raw BLOB NOT NULL,
    at INTEGER NOT NULL,
    UNIQUE (class, source, position)
);
CREATE INDEX dead_letter_by_class ON dead_letter (class, n);
