-- name: tables
-- Every table that has a merchant, and the tables that its rows refer to.
SELECT c.relname::text,
       coalesce(array_agg(DISTINCT p.relname::text) FILTER (WHERE p.oid <> c.oid), '{}')
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'merchant_id' AND NOT a.attisdropped
  LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f'
  LEFT JOIN pg_class p ON p.oid = k.confrelid
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND c.relnamespace = 'public'::regnamespace
 GROUP BY c.relname
 ORDER BY c.relname

-- name: close_accounts
-- Nobody may take these accounts any more.
UPDATE account SET state = 'closed' WHERE merchant_id = %(merchant)s AND state <> 'closed'

-- name: end_leases
-- Leases that cannot be renewed: whoever has one lets go within two seconds, and may speak until its end.
DELETE FROM ownership WHERE merchant_id = %(merchant)s
RETURNING CASE WHEN owner IS NULL THEN 0 ELSE lease_until_us END
