-- What policies hold back, and how far an incident is verified.

ALTER TABLE incident ADD COLUMN verification INTEGER NOT NULL DEFAULT 0; -- 0 .. 4, TMA AVS-01
ALTER TABLE incident ADD COLUMN suppressed INTEGER NOT NULL DEFAULT 0;   -- detections held back

-- Detections that a policy held back from people. `incident` is the one they are shown on.
CREATE TABLE suppressed (
    detection INTEGER PRIMARY KEY REFERENCES detection (n),
    incident INTEGER REFERENCES incident (n),
    policy TEXT NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX suppressed_by_incident ON suppressed (incident, policy) WHERE incident IS NOT NULL;
CREATE INDEX suppressed_by_time ON suppressed (at);
