-- name: rows
-- The merchant's mapping, of some marketplaces or of all, in the order of an exported file.
SELECT marketplace, kind, scope, ours, theirs, theirs_name FROM mapping
 WHERE merchant_id = %(merchant)s
   AND (%(marketplaces)s::text[] IS NULL OR marketplace = ANY (%(marketplaces)s::text[]))
 ORDER BY marketplace, array_position(ARRAY['category', 'brand', 'attribute', 'value'], kind),
          scope COLLATE "C", ours_folded COLLATE "C"

-- name: put
-- Create or update rows.
INSERT INTO mapping (merchant_id, marketplace, kind, scope, ours, ours_folded, theirs, theirs_name)
SELECT %(merchant)s, x.marketplace, x.kind, x.scope, x.ours, x.ours_folded, x.theirs, x.theirs_name
  FROM json_to_recordset(%(rows)s::json)
       AS x (marketplace text, kind text, scope text, ours text, ours_folded text, theirs text,
             theirs_name text)
 ORDER BY x.marketplace, x.kind, x.scope, x.ours_folded
ON CONFLICT (merchant_id, marketplace, kind, scope, ours_folded) DO UPDATE
   SET ours = excluded.ours, theirs = excluded.theirs, theirs_name = excluded.theirs_name

-- name: drop
-- Take rows away, by their keys.
DELETE FROM mapping m
 USING json_to_recordset(%(rows)s::json)
       AS x (marketplace text, kind text, scope text, ours_folded text)
 WHERE m.merchant_id = %(merchant)s AND m.marketplace = x.marketplace AND m.kind = x.kind
   AND m.scope = x.scope AND m.ours_folded = x.ours_folded
