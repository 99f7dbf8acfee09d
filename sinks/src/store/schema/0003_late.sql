-- What was found of events that came later than the slack: 'live' (people were told) or 'recorded'
-- (nobody was). NULL: in time. Of an incident it is that of the detection which opened it.
ALTER TABLE detection ADD COLUMN late TEXT;
ALTER TABLE incident ADD COLUMN late TEXT;
