-- name: judge
-- Judge what a look or a page showed; see functions/05_conflict.sql.
SELECT listing_id, push_key, field, verdict, our_quantity, quantity, our_list_minor, list_minor,
       our_sale_minor, sale_minor
  FROM judge_shelf(%(merchant)s, %(account)s, %(keys)s::text[], %(quantities)s::integer[],
                   %(lists)s::bigint[], %(sales)s::bigint[], %(observed_us)s, %(lag_us)s,
                   %(skew_us)s, %(now)s, %(now_us)s)

-- name: due
-- Sights that are to be looked at once more now, oldest first. A quantity waits until the account's
-- orders are known up to the first sight, a whole interval of reading them at most; ``answered``:
-- questions that a newer price or the listing's end has answered.
SELECT key.push_key,
       (SELECT count(*) FROM offer_conflict c
          JOIN listing l ON l.merchant_id = c.merchant_id AND l.listing_id = c.listing_id
          LEFT JOIN offer_desired_price p ON p.merchant_id = c.merchant_id
           AND p.account_id = c.account_id AND p.listing_id = c.listing_id
         WHERE c.merchant_id = %(merchant)s AND c.account_id = %(account)s
           AND (l.state = 'closed' OR (c.field = 2 AND p.revision > c.revision))) AS answered
  FROM (SELECT 1) one
  LEFT JOIN LATERAL (
      SELECT c.listing_id FROM offer_conflict c
        JOIN order_cursor o USING (merchant_id, account_id)
       WHERE c.merchant_id = %(merchant)s AND c.account_id = %(account)s AND c.state = 1
         AND c.look_us <= %(now_us)s AND (c.field = 2 OR o.fresh_us >= c.first_us)
       ORDER BY c.look_us, c.listing_id, c.field LIMIT %(limit)s
  ) d ON true
  LEFT JOIN listing_key key ON key.merchant_id = %(merchant)s AND key.account_id = %(account)s
   AND key.listing_id = d.listing_id

-- name: forget_unshown
-- What the channel no longer shows at all is no edit of a value.
DELETE FROM offer_conflict c USING listing_key k
 WHERE c.merchant_id = %(merchant)s AND c.account_id = %(account)s AND c.state = 1
   AND k.merchant_id = c.merchant_id AND k.account_id = c.account_id
   AND k.listing_id = c.listing_id AND k.push_key = ANY (%(keys)s::text[])

-- name: postpone
-- The look did not succeed; try again later.
UPDATE offer_conflict c SET look_us = %(look_us)s
  FROM listing_key k
 WHERE c.merchant_id = %(merchant)s AND c.account_id = %(account)s AND c.state = 1
   AND k.merchant_id = c.merchant_id AND k.account_id = c.account_id
   AND k.listing_id = c.listing_id AND k.push_key = ANY (%(keys)s::text[])

-- name: end_answered
-- Questions that a newer price or the listing's end has answered.
SELECT end_answered(%(merchant)s, %(account)s, %(now)s, %(now_us)s)

-- name: sweep
-- The account's interval and its latest sweep, which is under way while it has no end.
SELECT a.sweep_interval_s, s.sweep_id, s.started_us, s.ended_us, s.next_token, s.expected
  FROM account a
  LEFT JOIN LATERAL (
      SELECT * FROM sweep
       WHERE merchant_id = a.merchant_id AND account_id = a.account_id
       ORDER BY sweep_id DESC LIMIT 1
  ) s ON true
 WHERE a.merchant_id = %(merchant)s AND a.account_id = %(account)s

-- name: begin_sweep
-- A sweep begins; its rows are added page by page.
INSERT INTO sweep (merchant_id, account_id, started_us, expected)
SELECT %(merchant)s, %(account)s, %(now_us)s, count(*) FROM listing
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s
   AND state IN ('on_sale', 'off_sale')
RETURNING sweep_id, expected

-- name: step_sweep
-- One page more; the first differences are kept to be shown.
UPDATE sweep
   SET pages = pages + 1, next_token = %(token)s, ended_us = %(ended_us)s,
       checked = checked + %(checked)s, equal = equal + %(equal)s, moving = moving + %(moving)s,
       repaired = repaired + %(repaired)s, conflicts = conflicts + %(conflicts)s,
       drift = CASE WHEN jsonb_array_length(drift) < 100 THEN drift || %(drift)s::jsonb
                    ELSE drift END
 WHERE merchant_id = %(merchant)s AND sweep_id = %(sweep)s

-- name: abandon_sweep
-- It cannot go on from where it was: the next one begins anew.
DELETE FROM sweep WHERE merchant_id = %(merchant)s AND sweep_id = %(sweep)s AND ended_us IS NULL

-- name: list
-- Open questions and what was kept of the channel's, newest first.
SELECT a.account_id, a.name AS account, v.sku, v.currency, x.listing_id, x.field, x.state,
       x.our_quantity, x.their_quantity, x.our_list_minor, x.our_sale_minor, x.their_list_minor,
       x.their_sale_minor, x.since_us, x.kept_by
  FROM (
      SELECT c.account_id, c.listing_id, c.field, 'open' AS state, c.our_quantity,
             c.their_quantity, c.our_list_minor, c.our_sale_minor, c.their_list_minor,
             c.their_sale_minor, c.first_us AS since_us, NULL AS kept_by
        FROM offer_conflict c
        LEFT JOIN offer_desired_price p ON c.field = 2 AND p.merchant_id = c.merchant_id
         AND p.account_id = c.account_id AND p.listing_id = c.listing_id
       WHERE c.merchant_id = %(merchant)s AND c.state = 2
         AND (p.revision > c.revision) IS NOT TRUE
      UNION ALL
      SELECT l.account_id, l.listing_id, 2::smallint, 'kept', NULL, NULL,
             coalesce(v.list_price_minor, v.sale_price_minor), v.sale_price_minor,
             l.list_price_minor, l.sale_price_minor, l.price_kept_us, l.price_kept_by
        FROM listing l JOIN variant v USING (merchant_id, variant_id)
       WHERE l.merchant_id = %(merchant)s AND l.price_kept_us IS NOT NULL
      UNION ALL
      SELECT l.account_id, l.listing_id, 1::smallint, 'kept', l.quantity_max_before,
             l.quantity_max, NULL, NULL, NULL, NULL, l.quantity_kept_us, l.quantity_kept_by
        FROM listing l
       WHERE l.merchant_id = %(merchant)s AND l.quantity_kept_us IS NOT NULL
  ) x
  JOIN account a ON a.merchant_id = %(merchant)s AND a.account_id = x.account_id
   AND a.state <> 'closed'
  JOIN listing l ON l.merchant_id = %(merchant)s AND l.listing_id = x.listing_id
   AND l.state <> 'closed'
  JOIN variant v ON v.merchant_id = %(merchant)s AND v.variant_id = l.variant_id
 WHERE (%(account)s::integer IS NULL OR x.account_id = %(account)s)
   AND (%(sku)s::text IS NULL OR v.sku = %(sku)s::text)
   AND (%(field)s::smallint IS NULL OR x.field = %(field)s::smallint)
   AND (%(state)s::text IS NULL OR x.state = %(state)s::text)
 ORDER BY x.state DESC, x.since_us DESC, x.listing_id, x.field
 LIMIT %(limit)s

-- name: lock
-- Open questions of these fields, as they stand now and stay until the end of the transaction.
SELECT c.listing_id, c.field FROM offer_conflict c
  JOIN unnest(%(listings)s::bigint[], %(fields)s::smallint[]) AS x (listing_id, field)
    ON x.listing_id = c.listing_id AND x.field = c.field
 WHERE c.merchant_id = %(merchant)s AND c.account_id = %(account)s AND c.state = 2
 ORDER BY c.listing_id, c.field FOR UPDATE OF c

-- name: note
-- Event and audit of what was decided, with both values.
SELECT note_conflicts(%(merchant)s, %(account)s, %(action)s, %(actor)s,
    coalesce(conflict_changes(%(merchant)s, %(account)s, %(listings)s::bigint[],
                              %(fields)s::smallint[]), '[]'), %(now)s, %(now_us)s)

-- name: note_drop
-- Event and audit of overrides that are given up, with the values that were in force.
SELECT note_conflicts(%(merchant)s, %(account)s, %(action)s, %(actor)s, (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
               'sku', v.sku, 'field', CASE x.field WHEN 1 THEN 'quantity' ELSE 'price' END,
               'ours', CASE x.field WHEN 1 THEN l.quantity_max_before
                                    ELSE v.sale_price_minor END,
               'theirs', CASE x.field WHEN 1 THEN l.quantity_max ELSE l.sale_price_minor END)
               ORDER BY l.listing_id, x.field), '[]')
      FROM unnest(%(listings)s::bigint[], %(fields)s::smallint[]) AS x (listing_id, field)
      JOIN listing l ON l.merchant_id = %(merchant)s AND l.listing_id = x.listing_id
      JOIN variant v ON v.merchant_id = l.merchant_id AND v.variant_id = l.variant_id
    ), %(now)s, %(now_us)s)

-- name: give_way
-- Locks are waited for shorter than any deadlock is looked for: others sell and send meanwhile.
SET LOCAL lock_timeout = '300ms'

-- name: keep_ours
-- The hub wins.
SELECT keep_ours(%(merchant)s, %(account)s, %(listings)s::bigint[], %(fields)s::smallint[],
    %(now_us)s)

-- name: keep_theirs
-- The channel wins. Returns the accounts touched.
SELECT keep_theirs(%(merchant)s, %(account)s, %(listings)s::bigint[], %(fields)s::smallint[],
    %(actor)s, %(now_us)s)

-- name: drop_kept
-- What was kept of the channel's is given up. Returns the accounts touched.
SELECT drop_kept(%(merchant)s, %(account)s, %(listings)s::bigint[], %(fields)s::smallint[],
    %(now_us)s)

-- name: rules
-- Who wins on this account, field by field.
SELECT price_rule, quantity_rule, sweep_interval_s FROM account
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s

-- name: set_rules
-- From the next edit on; what is not given stays.
UPDATE account
   SET price_rule = coalesce(%(price)s, price_rule),
       quantity_rule = coalesce(%(quantity)s, quantity_rule),
       sweep_interval_s = coalesce(%(interval_s)s, sweep_interval_s)
 WHERE merchant_id = %(merchant)s AND account_id = %(account)s
RETURNING price_rule, quantity_rule, sweep_interval_s
