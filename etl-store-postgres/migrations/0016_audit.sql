-- The audit log: more of who acted, a chain, and rows that never change but for the place that they get in it.
ALTER TABLE audit_log
    ADD COLUMN actor TEXT NOT NULL DEFAULT '',              -- + as people knew them
    ADD COLUMN trace_id TEXT,                               -- +
    ADD COLUMN seq BIGINT CHECK (seq >= 1),                 -- + the place in the chain
    ADD COLUMN mac BYTEA;                                   -- + over the row and the one before it
CREATE UNIQUE INDEX idx_audit_chain ON audit_log (seq) WHERE seq IS NOT NULL;
CREATE INDEX idx_audit_unsealed ON audit_log (id) WHERE seq IS NULL;
CREATE INDEX idx_audit_user ON audit_log (user_id, id);
CREATE INDEX idx_audit_resource ON audit_log (resource_id, id);
CREATE INDEX idx_audit_action ON audit_log (action, id);

CREATE FUNCTION etl_audit_log_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a row of the audit log stays';
END $$;
CREATE TRIGGER audit_log_stays BEFORE DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION etl_audit_log_stays();
CREATE TRIGGER audit_log_is_not_emptied BEFORE TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION etl_audit_log_stays();

CREATE FUNCTION etl_audit_log_is_sealed_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF old.seq IS NOT NULL OR new.seq IS NULL OR new.mac IS NULL
        OR (new.id, new.timestamp, new.user_id, new.actor, new.action, new.resource_type, new.resource_id, new.old_value,
            new.new_value, new.ip_address, new.user_agent, new.trace_id)
        IS DISTINCT FROM (old.id, old.timestamp, old.user_id, old.actor, old.action, old.resource_type, old.resource_id, old.old_value,
            old.new_value, old.ip_address, old.user_agent, old.trace_id) THEN
        RAISE EXCEPTION 'a row of the audit log does not change';
    END IF;
    RETURN new;
END $$;
CREATE TRIGGER audit_log_is_sealed_once BEFORE UPDATE ON audit_log FOR EACH ROW EXECUTE FUNCTION etl_audit_log_is_sealed_once();
