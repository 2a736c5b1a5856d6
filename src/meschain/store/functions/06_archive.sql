-- Rows that come with their own numbers, as those of a merchant's archive do.

-- An address without what may be secret in it: user, password, query. A path stays.
CREATE OR REPLACE FUNCTION feed_address(p_source text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT regexp_replace(p_source, '^(https?://)([^/?#]*@)?([^?#]*).*$', '\1\3')
$$;

-- Let the identities of these tables go on above what this merchant has. Numbers are unique within a
-- merchant, so another merchant that draws one meanwhile is no harm. Runs with the owner's rights, since
-- only an owner may; what it reads and sets follows from the merchant's own rows.
CREATE OR REPLACE FUNCTION pass_identities(p_merchant integer, p_tables text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    v_column record;
    v_reached bigint;
    v_most bigint;
BEGIN
    FOR v_column IN
        SELECT c.relname, a.attname,
               pg_get_serial_sequence(quote_ident(c.relname), a.attname)::regclass AS sequence
          FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         WHERE a.attidentity <> '' AND c.relname = ANY (p_tables)
           AND c.relnamespace = 'public'::regnamespace
         ORDER BY c.relname
    LOOP
        EXECUTE format('SELECT max(%I) FROM %I WHERE merchant_id = $1',
                       v_column.attname, v_column.relname) INTO v_reached USING p_merchant;
        SELECT seqmax / 2 INTO v_most FROM pg_sequence WHERE seqrelid = v_column.sequence;
        IF v_reached > v_most THEN
            -- Taken over, it would leave no numbers for all other merchants.
            RAISE EXCEPTION 'number % of %.% is too large', v_reached, v_column.relname,
                  v_column.attname USING ERRCODE = 'numeric_value_out_of_range';
        END IF;
        IF v_reached > nextval(v_column.sequence) THEN
            PERFORM setval(v_column.sequence, v_reached);
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION pass_identities(integer, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pass_identities(integer, text[]) TO meschain_app;
