-- A backup reads every table as its owner. Where that is no superuser, row-level security is forced
-- on it too, and would hide every row in silence. Reading only: who owns a table may lift its
-- security anyway. A later table with forced security needs the same policy (a test says so).
DO $$
DECLARE
    v_table text;
BEGIN
    FOR v_table IN
        SELECT c.relname FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
           AND c.relforcerowsecurity
           AND NOT EXISTS (SELECT 1 FROM pg_policy p
                            WHERE p.polrelid = c.oid AND p.polname = 'owner_reads')
         ORDER BY c.relname
    LOOP
        EXECUTE format('CREATE POLICY owner_reads ON %I FOR SELECT TO CURRENT_USER USING (true)',
                       v_table);
    END LOOP;
END
$$;
