-- name: add
-- A supplier's feed; looked at for the first time at once.
INSERT INTO supplier_feed (merchant_id, name, source, key_number, source_sealed, column_map,
                           every_s, allows_private, created_at, next_due_at)
VALUES (%(merchant)s, %(name)s, %(source)s, %(key_number)s, %(source_sealed)s, %(column_map)s,
        %(every_s)s, %(allows_private)s, %(now)s, %(now)s)
ON CONFLICT (merchant_id, name) DO NOTHING
RETURNING feed_id

-- name: remove
-- What it brought stays.
DELETE FROM supplier_feed WHERE merchant_id = %(merchant)s AND name = %(name)s RETURNING feed_id

-- name: one
-- A feed by its name.
SELECT feed_id, source, key_number, source_sealed, column_map, allows_private, etag, last_modified,
       content_hash, variants
  FROM supplier_feed WHERE merchant_id = %(merchant)s AND name = %(name)s

-- name: seal
-- An address from before addresses were sealed.
UPDATE supplier_feed
   SET source = %(source)s, key_number = %(key_number)s, source_sealed = %(source_sealed)s
 WHERE merchant_id = %(merchant)s AND feed_id = %(feed)s AND source_sealed IS NULL

-- name: list
-- All feeds, with what keeps each from being taken in.
SELECT f.name, f.source, f.every_s, f.allows_private, f.next_due_at, f.looked_at, f.taken_at,
       f.variants, a.kind AS problem, a.params AS problem_params
  FROM supplier_feed f
  LEFT JOIN alert a ON a.merchant_id = f.merchant_id AND a.resolved_us IS NULL
                   AND a.subject = 'feed ' || f.name AND a.kind LIKE 'alert.feed.%%'
 WHERE f.merchant_id = %(merchant)s ORDER BY f.name

-- name: claim_due
-- The feed, of whatever merchant, that has waited longest; it is given to one process.
UPDATE supplier_feed f SET next_due_at = %(now)s + make_interval(secs => f.every_s)
  FROM (SELECT d.merchant_id, d.feed_id FROM supplier_feed d
         WHERE d.next_due_at <= %(now)s
         ORDER BY d.next_due_at, d.merchant_id, d.feed_id LIMIT 1
           FOR UPDATE SKIP LOCKED) due
 WHERE f.merchant_id = due.merchant_id AND f.feed_id = due.feed_id
RETURNING f.merchant_id, f.name

-- name: looked
-- It was looked at; the next look is a whole interval away.
UPDATE supplier_feed SET looked_at = %(now)s,
       next_due_at = %(now)s + make_interval(secs => every_s)
 WHERE merchant_id = %(merchant)s AND feed_id = %(feed)s

-- name: taken
-- It was taken in, or is what was taken in before.
UPDATE supplier_feed SET taken_at = %(now)s, etag = %(etag)s, last_modified = %(last_modified)s,
       content_hash = %(content_hash)s, variants = %(variants)s
 WHERE merchant_id = %(merchant)s AND feed_id = %(feed)s

-- name: raise_problem
-- What keeps it from being taken in.
SELECT raise_alert(%(merchant)s, %(kind)s, %(subject)s, NULL, %(params)s::jsonb, %(now_us)s)

-- name: end_problems
-- It went well, or another thing is the matter now.
UPDATE alert SET resolved_us = %(now_us)s
 WHERE merchant_id = %(merchant)s AND subject = %(subject)s AND kind LIKE 'alert.feed.%%'
   AND kind <> %(but)s AND resolved_us IS NULL
