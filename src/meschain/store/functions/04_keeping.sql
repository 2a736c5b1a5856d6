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
