-- The first record of the epoch that this view covers: above 0 only where the log's beginning was gone.
ALTER TABLE streams ADD COLUMN begins INTEGER NOT NULL DEFAULT 0;
