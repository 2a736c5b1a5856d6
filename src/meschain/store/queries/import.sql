-- name: begin
-- A run of a products file; without an end it was cut short, and the same command continues it.
INSERT INTO import_run (merchant_id, kind, file_name, file_hash, terms_hash, actor, location_id,
                        started_at)
VALUES (%(merchant)s, %(kind)s, %(file_name)s, %(file_hash)s, %(terms_hash)s, %(actor)s,
        %(location)s, %(now)s)
RETURNING import_id

-- name: cut_short
-- The latest unfinished run of just this file, read in just this way. FOR UPDATE waits for a chunk
-- that a killed process may still have under way: its step holds the run by its foreign key.
SELECT import_id, started_at FROM import_run
 WHERE merchant_id = %(merchant)s AND kind = %(kind)s AND file_hash = %(file_hash)s
   AND terms_hash = %(terms_hash)s AND location_id IS NOT DISTINCT FROM %(location)s::integer
   AND ended_at IS NULL AND undone_at IS NULL AND started_at > %(since)s
   -- Whatever ran to its end since then may have counted anew.
   AND NOT EXISTS (SELECT 1 FROM import_run r
                    WHERE r.merchant_id = %(merchant)s AND r.import_id > import_run.import_id
                      AND (r.kind LIKE 'products:%%' OR r.kind = import_run.kind)
                      AND r.ended_at IS NOT NULL)
 ORDER BY import_id DESC LIMIT 1
   FOR UPDATE

-- name: continue
-- Whoever goes on with it is named beside who began.
UPDATE import_run SET actor = actor || ', ' || %(actor)s
 WHERE merchant_id = %(merchant)s AND import_id = %(import)s
   AND %(actor)s <> ALL (string_to_array(actor, ', '))

-- name: add_step
-- What a chunk changes. Written first, so that it holds the run while the chunk is under way.
INSERT INTO import_step (merchant_id, import_id, step_number, facts)
VALUES (%(merchant)s, %(import)s, %(step)s, %(facts)s)

-- name: step_numbers
-- The chunks that a run has taken in.
SELECT step_number FROM import_step
 WHERE merchant_id = %(merchant)s AND import_id = %(import)s ORDER BY step_number

-- name: steps
-- What the chunks of a run changed.
SELECT facts FROM import_step
 WHERE merchant_id = %(merchant)s AND import_id = %(import)s ORDER BY step_number

-- name: step
-- What one chunk changed.
SELECT facts FROM import_step
 WHERE merchant_id = %(merchant)s AND import_id = %(import)s AND step_number = %(step)s

-- name: run
-- One run.
SELECT kind, location_id, undone_at FROM import_run
 WHERE merchant_id = %(merchant)s AND import_id = %(import)s

-- name: runs
-- All runs, the latest first.
SELECT import_id, kind, file_name, encode(file_hash, 'hex') AS file_hash, actor, started_at,
       ended_at, counts, undone_at, undone_by, undo_counts,
       EXISTS (SELECT 1 FROM import_step s WHERE s.merchant_id = r.merchant_id
                  AND s.import_id = r.import_id) AS can_undo
  FROM import_run r
 WHERE merchant_id = %(merchant)s
 ORDER BY import_id DESC LIMIT %(limit)s

-- name: end_undo
-- The run is put back.
UPDATE import_run SET undone_at = %(now)s, undone_by = %(actor)s, undo_counts = %(counts)s::jsonb
 WHERE merchant_id = %(merchant)s AND import_id = %(import)s

-- name: lock_created
-- Nothing can come to depend on these variants while it is found out whether anything does.
SELECT 1 FROM (
    SELECT v.variant_id
      FROM unnest(%(skus)s::text[]) AS x (sku)
     CROSS JOIN LATERAL (
          SELECT o.variant_id FROM variant o
           WHERE o.merchant_id = %(merchant)s AND o.sku = x.sku OFFSET 0) v
     ORDER BY v.variant_id) k
 CROSS JOIN LATERAL (
      SELECT 1 FROM variant o WHERE o.merchant_id = %(merchant)s AND o.variant_id = k.variant_id
         FOR UPDATE) held

-- name: in_use
-- Variants that something of another origin depends on: 'listing', 'order', 'question', 'stock'.
SELECT x.variant_id,
       CASE WHEN EXISTS (SELECT 1 FROM listing l WHERE l.merchant_id = %(merchant)s
                            AND l.variant_id = x.variant_id) THEN 'listing'
            WHEN EXISTS (SELECT 1 FROM order_line o WHERE o.merchant_id = %(merchant)s
                            AND o.variant_id = x.variant_id)
              OR EXISTS (SELECT 1 FROM reservation r WHERE r.merchant_id = %(merchant)s
                            AND r.variant_id = x.variant_id) THEN 'order'
            WHEN EXISTS (SELECT 1 FROM question q WHERE q.merchant_id = %(merchant)s
                            AND q.variant_id = x.variant_id) THEN 'question'
            ELSE 'stock' END AS used_by
  FROM unnest(%(variants)s::bigint[]) AS x (variant_id)
 WHERE EXISTS (SELECT 1 FROM listing l WHERE l.merchant_id = %(merchant)s
                  AND l.variant_id = x.variant_id)
    OR EXISTS (SELECT 1 FROM order_line o WHERE o.merchant_id = %(merchant)s
                  AND o.variant_id = x.variant_id)
    OR EXISTS (SELECT 1 FROM reservation r WHERE r.merchant_id = %(merchant)s
                  AND r.variant_id = x.variant_id)
    OR EXISTS (SELECT 1 FROM question q WHERE q.merchant_id = %(merchant)s
                  AND q.variant_id = x.variant_id)
    OR EXISTS (SELECT 1 FROM stock_movement m WHERE m.merchant_id = %(merchant)s
                  AND m.variant_id = x.variant_id AND m.actor <> ALL (%(actors)s::text[]))
    OR EXISTS (SELECT 1 FROM stock_level s WHERE s.merchant_id = %(merchant)s
                  AND s.variant_id = x.variant_id
                  AND (s.safety_stock <> 0 OR s.reserved <> 0 OR s.location_id <> %(location)s))

-- name: bundles_of
-- Which bundles these variants are part of.
SELECT c.sku, b.sku
  FROM unnest(%(variants)s::bigint[]) AS x (variant_id)
 CROSS JOIN LATERAL (
      SELECT o.bundle_variant_id FROM bundle_component o
       WHERE o.merchant_id = %(merchant)s AND o.component_variant_id = x.variant_id OFFSET 0) p
 CROSS JOIN LATERAL (
      SELECT o.sku FROM variant o
       WHERE o.merchant_id = %(merchant)s AND o.variant_id = p.bundle_variant_id OFFSET 0) b
 CROSS JOIN LATERAL (
      SELECT o.sku FROM variant o
       WHERE o.merchant_id = %(merchant)s AND o.variant_id = x.variant_id OFFSET 0) c
 ORDER BY 1, 2

-- name: moved
-- What the run (and its undoing) has moved of these variants at its place, and whether somebody
-- has counted them since.
SELECT x.variant_id, own.delta,
       EXISTS (SELECT 1 FROM stock_movement m
                WHERE m.merchant_id = %(merchant)s AND m.variant_id = x.variant_id
                  AND m.location_id = %(location)s AND m.kind = 'adjustment'
                  AND m.movement_id > own.latest AND m.actor <> ALL (%(actors)s::text[]))
  FROM unnest(%(variants)s::bigint[]) AS x (variant_id)
 CROSS JOIN LATERAL (
      SELECT coalesce(sum(m.on_hand_delta), 0)::integer AS delta,
             coalesce(max(m.movement_id), 0) AS latest
        FROM stock_movement m
       WHERE m.merchant_id = %(merchant)s AND m.variant_id = x.variant_id
         AND m.location_id = %(location)s AND m.actor = ANY (%(actors)s::text[])) own

-- name: moved_since
-- Units that others have moved of these variants at a place since some moment, and whether they were
-- counted or received. A movement without units on hand (a reservation) is none.
SELECT x.variant_id, since.delta, since.was_counted
  FROM unnest(%(variants)s::bigint[]) AS x (variant_id)
 CROSS JOIN LATERAL (
      SELECT sum(m.on_hand_delta) AS delta,
             bool_or(m.kind IN ('receipt', 'adjustment')) AS was_counted
        FROM stock_movement m
       WHERE m.merchant_id = %(merchant)s AND m.variant_id = x.variant_id
         AND m.location_id = %(location)s AND m.occurred_at > %(since)s
         AND m.actor <> %(actor)s AND m.on_hand_delta <> 0) since
 WHERE since.delta IS NOT NULL

-- name: drop_levels
-- Levels of variants that were never counted before, once nothing is left in them.
DELETE FROM stock_level s USING unnest(%(variants)s::bigint[]) AS x (variant_id)
 WHERE s.merchant_id = %(merchant)s AND s.variant_id = x.variant_id
   AND s.location_id = %(location)s AND s.on_hand = 0 AND s.reserved = 0 AND s.safety_stock = 0

-- name: drop_variants
-- Variants that nothing depends on; their pictures go with them, their movements stay.
DELETE FROM variant v USING unnest(%(variants)s::bigint[]) AS x (variant_id)
 WHERE v.merchant_id = %(merchant)s AND v.variant_id = x.variant_id

-- name: work_alone
-- Whether this connection now is the only one of the merchant that imports; held until it ends.
SELECT pg_try_advisory_lock(hashtextextended('meschain import', %(merchant)s))

-- name: end_work_alone
-- Let the next one import.
SELECT pg_advisory_unlock(hashtextextended('meschain import', %(merchant)s))
