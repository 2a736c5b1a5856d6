-- What keeps the database tidy: partitions of the feed, and rows that have served their time.

-- A partition for each of the coming days; days that already have rows in event_rest are left
-- there. Runs with the owner's rights, since the engine's role creates nothing.
CREATE OR REPLACE FUNCTION prepare_event_days(p_first date, p_days integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    v_day date;
    v_made integer := 0;
BEGIN
    FOR i IN 0 .. p_days - 1 LOOP
        v_day := p_first + i;
        IF to_regclass('event_' || to_char(v_day, 'YYYYMMDD')) IS NULL
           AND NOT EXISTS (SELECT 1 FROM event_rest WHERE day = v_day)
        THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF event FOR VALUES FROM (%L) TO (%L)',
                           'event_' || to_char(v_day, 'YYYYMMDD'), v_day, v_day + 1);
            v_made := v_made + 1;
        END IF;
    END LOOP;
    RETURN v_made;
END
$$;

-- Drop whole days of the feed that ended before p_before.
CREATE OR REPLACE FUNCTION forget_event_days(p_before date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    v_name text;
    v_dropped integer := 0;
BEGIN
    FOR v_name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'event'::regclass AND c.relname ~ '^event_[0-9]{8}$'
           AND to_date(right(c.relname, 8), 'YYYYMMDD') < p_before
         ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE %I', v_name);
        v_dropped := v_dropped + 1;
    END LOOP;
    DELETE FROM event_rest WHERE day < p_before;
    RETURN v_dropped;
END
$$;
REVOKE ALL ON FUNCTION prepare_event_days(date, integer), forget_event_days(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION prepare_event_days(date, integer), forget_event_days(date)
    TO meschain_engine;

-- Let the planner know of tables that have grown much since it last looked, as they do when a first
-- catalog comes in: until then it takes them for nearly empty, and an order was measured to take
-- seconds instead of milliseconds. Autovacuum would do it too, up to a minute later. Returns how
-- many tables were looked at. Runs with the owner's rights, since only an owner may.
CREATE OR REPLACE FUNCTION refresh_statistics() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    v_name text;
    v_looked integer := 0;
BEGIN
    -- One at a time: a second caller has nothing left to do.
    IF NOT pg_try_advisory_xact_lock(hashtext('meschain refresh_statistics')) THEN
        RETURN 0;
    END IF;
    FOR v_name IN
        SELECT c.relname FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
           AND c.relpersistence = 'p' AND NOT c.relispartition
           -- Pages now against pages then. Each look makes every session plan anew, so only growth
           -- that can change a plan counts; the rest is left to autovacuum.
           AND pg_relation_size(c.oid) / current_setting('block_size')::integer
               > 2 * c.relpages + 4
         ORDER BY c.relname
    LOOP
        EXECUTE format('ANALYZE %I', v_name);
        v_looked := v_looked + 1;
    END LOOP;
    RETURN v_looked;
END
$$;
REVOKE ALL ON FUNCTION refresh_statistics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION refresh_statistics() TO meschain_app, meschain_engine;
