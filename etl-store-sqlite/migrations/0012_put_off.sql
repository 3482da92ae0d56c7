-- + Rows that can't be read are passed over until some time, and so often before: those behind them must not wait for them.
ALTER TABLE schedules ADD COLUMN put_off INTEGER NOT NULL DEFAULT 0;
ALTER TABLE schedules ADD COLUMN put_off_until TEXT;
ALTER TABLE job_hooks ADD COLUMN put_off INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job_hooks ADD COLUMN put_off_until TEXT;
