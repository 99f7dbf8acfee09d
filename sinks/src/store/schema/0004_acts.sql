-- What operators do to incidents and rules, and incidents that are active for too long.

ALTER TABLE incident ADD COLUMN assigned TEXT;          -- to whom
ALTER TABLE incident ADD COLUMN disposition TEXT;       -- of a closed one: true-alarm, false-alarm, ...
ALTER TABLE incident ADD COLUMN unshelved_state TEXT;   -- of a shelved one: what it goes back to
ALTER TABLE incident ADD COLUMN stale_at INTEGER;       -- since when it is stale
ALTER TABLE timeline ADD COLUMN author TEXT;            -- who did it, where somebody did

-- Rules at a site, or keys of them, that an operator has shelved.
CREATE TABLE shelf (
    site TEXT NOT NULL,
    rule TEXT NOT NULL,
    key TEXT NOT NULL,                                  -- empty: whatever the key
    at INTEGER NOT NULL,
    until INTEGER NOT NULL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (site, rule, key)
) WITHOUT ROWID;
CREATE INDEX incident_by_opening ON incident (opened_at);
