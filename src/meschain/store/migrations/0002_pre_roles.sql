-- Three roles. owner: migrations. app: one merchant at a time, by row-level security. engine: the
-- engine's tables only, every query naming merchant_id. The policies name the roles, so that no
-- role needs the BYPASSRLS attribute (a hosted server does not grant it).
DO $$
DECLARE
    v_role text;
BEGIN
    FOREACH v_role IN ARRAY ARRAY['meschain_app', 'meschain_engine'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- roles are the cluster's; another database made it
        END;
    END LOOP;
END
$$;

DO $$
DECLARE
    v_table text;
    v_engine text[] := ARRAY[
        'account', 'listing', 'listing_key', 'offer_desired_price', 'offer_desired_quantity',
        'offer_acknowledged', 'offer_dirty', 'offer_inflight', 'offer_unsettled', 'offer_refusal',
        'offer_shelf_sale', 'ticket', 'attempt', 'ownership', 'lane', 'order_cursor', 'alert',
        'event', 'sweep', 'webhook', 'webhook_inbox', 'account_credential'];
BEGIN
    FOR v_table IN
        SELECT c.relname FROM pg_class c
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'merchant_id'
         WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
         ORDER BY c.relname
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', v_table);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', v_table);
        -- nullif: a setting that was local to an ended transaction reads as '', not as unset.
        EXECUTE format(
            'CREATE POLICY one_merchant ON %I TO meschain_app USING '
            '(merchant_id = nullif(current_setting(''meschain.merchant_id'', true), '''')::integer)',
            v_table);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO meschain_app', v_table);
        IF v_table = ANY (v_engine) THEN
            EXECUTE format('CREATE POLICY engine ON %I TO meschain_engine USING (true)', v_table);
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO meschain_engine', v_table);
        END IF;
    END LOOP;
END
$$;
-- The engine reads what accounts exist but never edits them, and needs the shop's switch only.
REVOKE INSERT, DELETE ON account FROM meschain_engine;
GRANT SELECT ON hub, package_state, package_transition TO meschain_app, meschain_engine;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO meschain_app, meschain_engine;
