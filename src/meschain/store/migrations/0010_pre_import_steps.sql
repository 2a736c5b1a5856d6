-- An import that can be continued after a kill, and put back as one.
ALTER TABLE import_run
    ADD COLUMN location_id integer,                     -- where the units were counted
    ADD COLUMN terms_hash  bytea NOT NULL DEFAULT '',   -- how the file was read: only the same continues
    ADD COLUMN undone_at   timestamptz,
    ADD COLUMN undone_by   text,
    ADD COLUMN undo_counts jsonb;

-- One chunk of a file, written in the transaction that it tells of: what stood before and after.
CREATE TABLE import_step (
    merchant_id integer NOT NULL,
    import_id   bigint NOT NULL,
    step_number integer NOT NULL,          -- chunks of the file in order, then what had to wait
    facts       bytea NOT NULL,            -- app.commands.import_products.step.Step, deflated JSON
    PRIMARY KEY (merchant_id, import_id, step_number),
    FOREIGN KEY (merchant_id, import_id) REFERENCES import_run ON DELETE CASCADE
);
ALTER TABLE import_step ALTER COLUMN facts SET STORAGE EXTERNAL;  -- deflated already

ALTER TABLE import_step ENABLE ROW LEVEL SECURITY;
ALTER TABLE import_step FORCE ROW LEVEL SECURITY;
CREATE POLICY one_merchant ON import_step TO meschain_app
    USING (merchant_id = nullif(current_setting('meschain.merchant_id', true), '')::integer);
CREATE POLICY owner_reads ON import_step FOR SELECT TO CURRENT_USER USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON import_step TO meschain_app;

-- Taking a variant away looks for its pictures.
CREATE INDEX media_variant ON media (merchant_id, variant_id) WHERE variant_id IS NOT NULL;
