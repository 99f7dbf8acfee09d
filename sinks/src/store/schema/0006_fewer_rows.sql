-- An incident of one detection is four rows: itself, the detection, its event, and that it is cited.

-- Feeds of its evidence, in order, one a line.
ALTER TABLE incident ADD COLUMN feeds TEXT NOT NULL DEFAULT '';
UPDATE incident SET feeds = coalesce(
    (SELECT group_concat(feed, char(10)) FROM
        (SELECT feed FROM incident_feed f WHERE f.incident = incident.n ORDER BY feed)), '');
DROP TABLE incident_feed;

-- Rows of its events as a JSON array; the trigger is the last.
ALTER TABLE detection ADD COLUMN events TEXT NOT NULL DEFAULT '[]';
UPDATE detection SET events =
    (SELECT json_group_array(event) FROM
        (SELECT event FROM detection_event d WHERE d.detection = detection.n ORDER BY place));
DROP TABLE detection_event;

-- The time first: events come nearly in its order, so that the index grows at one end.
CREATE TABLE event_by_time (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL,                        -- feed/device/id
    feed TEXT NOT NULL,
    kind TEXT NOT NULL,
    device TEXT NOT NULL,
    occurred INTEGER NOT NULL,
    recorded INTEGER NOT NULL,
    raw TEXT NOT NULL,
    -- A device whose ids wrap repeats an id over its life: the time tells its events apart.
    UNIQUE (occurred, id, kind)
);
INSERT INTO event_by_time SELECT n, id, feed, kind, device, occurred, recorded, raw FROM event;
DROP TABLE event;
ALTER TABLE event_by_time RENAME TO event;

-- How an incident was opened stands in its own row.
DELETE FROM timeline WHERE what = 'opened';

-- Ids begin with the time of opening.
DROP INDEX incident_by_opening;
