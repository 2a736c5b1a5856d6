-- name: live
-- Orders that the hub itself took in: they are no history. A source is an account, or all of those of
-- a marketplace. Arrays run in parallel.
SELECT DISTINCT x.source, o.external_id
  FROM unnest(%(sources)s::text[], %(numbers)s::text[]) AS x (source, number)
  JOIN account a ON a.merchant_id = %(merchant)s AND x.source IN (a.name, a.marketplace)
 CROSS JOIN LATERAL (
      SELECT l.external_id FROM orders l
       WHERE l.merchant_id = a.merchant_id AND l.account_id = a.account_id
         AND l.external_id = x.number OFFSET 0) o

-- name: put
-- Heads of orders, created or brought up to date.
INSERT INTO past_order AS p (merchant_id, source, number, placed_at, currency, buyer_ref, country,
                             city, import_id)
SELECT %(merchant)s, x.source, x.number, x.placed_at, x.currency, x.buyer_ref, x.country, x.city,
       %(import)s
  FROM json_to_recordset(%(rows)s::json)
       AS x (source text, number text, placed_at timestamptz, currency text, buyer_ref text,
             country text, city text)
 ORDER BY x.source, x.number
ON CONFLICT (merchant_id, source, number) DO UPDATE
   SET placed_at = excluded.placed_at, currency = excluded.currency,
       -- What was erased stays so, also where an older file still has it.
       buyer_ref = CASE WHEN p.erased_at IS NULL THEN excluded.buyer_ref ELSE '' END,
       country = excluded.country, city = excluded.city, import_id = excluded.import_id
 WHERE (p.placed_at, p.currency, p.buyer_ref, p.country, p.city) IS DISTINCT FROM
       (excluded.placed_at, excluded.currency,
        CASE WHEN p.erased_at IS NULL THEN excluded.buyer_ref ELSE '' END, excluded.country,
        excluded.city)
RETURNING source, number, past_order_id, xmax = 0

-- name: put_lines
-- Their lines; what stands as it is stated is not touched. Returns a row for each other one.
INSERT INTO past_order_line AS l (merchant_id, past_order_id, line_number, sku, barcode, title,
                                  units, unit_price, payable, vat_percent, commission_percent, state)
SELECT p.merchant_id, p.past_order_id, x.line_number, x.sku, x.barcode, x.title, x.units,
       x.unit_price, x.payable, x.vat_percent, x.commission_percent, x.state
  FROM json_to_recordset(%(rows)s::json)
       AS x (source text, number text, line_number integer, sku text, barcode text, title text,
             units integer, unit_price numeric(24, 6), payable numeric(24, 6),
             vat_percent numeric(5, 2), commission_percent numeric(7, 4), state text)
 -- By its key, whatever the planner believes of a table that was just filled.
 CROSS JOIN LATERAL (
      SELECT o.merchant_id, o.past_order_id FROM past_order o
       WHERE o.merchant_id = %(merchant)s AND o.source = x.source AND o.number = x.number
      OFFSET 0) p
ON CONFLICT (merchant_id, past_order_id, line_number) DO UPDATE
   SET sku = excluded.sku, barcode = excluded.barcode, title = excluded.title,
       units = excluded.units, unit_price = excluded.unit_price, payable = excluded.payable,
       vat_percent = excluded.vat_percent, commission_percent = excluded.commission_percent,
       state = excluded.state
 WHERE (l.sku, l.barcode, l.title, l.units, l.unit_price, l.payable, l.vat_percent,
        l.commission_percent, l.state) IS DISTINCT FROM
       (excluded.sku, excluded.barcode, excluded.title, excluded.units, excluded.unit_price,
        excluded.payable, excluded.vat_percent, excluded.commission_percent, excluded.state)
RETURNING past_order_id, xmax = 0

-- name: touch
-- Orders whose lines a run changes: it was the last to change them.
UPDATE past_order p SET import_id = %(import)s
  FROM unnest(%(orders)s::bigint[]) AS x (past_order_id)
 WHERE p.merchant_id = %(merchant)s AND p.past_order_id = x.past_order_id
RETURNING p.source, p.number

-- name: drop
-- Orders that a run brought and nobody changed since; their lines go with them. Arrays run in
-- parallel.
DELETE FROM past_order p
 USING unnest(%(sources)s::text[], %(numbers)s::text[]) AS x (source, number)
 WHERE p.merchant_id = %(merchant)s AND p.source = x.source AND p.number = x.number
   AND p.import_id = %(import)s
RETURNING p.source, p.number

-- name: held
-- Which of these orders there are, and which run changed each last. Arrays run in parallel.
SELECT p.source, p.number, p.import_id
  FROM unnest(%(sources)s::text[], %(numbers)s::text[]) AS x (source, number)
 CROSS JOIN LATERAL (
      SELECT o.source, o.number, o.import_id FROM past_order o
       WHERE o.merchant_id = %(merchant)s AND o.source = x.source AND o.number = x.number
      OFFSET 0) p

-- name: end_orders
-- Orders that the file holds whole: lines beyond its own go, the total follows the lines. Arrays run
-- in parallel. Returns the order of each line that went.
WITH given AS (
    SELECT p.past_order_id, x.lines, x.factor
      FROM unnest(%(sources)s::text[], %(numbers)s::text[], %(lines)s::integer[],
                  %(factors)s::integer[]) AS x (source, number, lines, factor)
     CROSS JOIN LATERAL (
          SELECT o.past_order_id FROM past_order o
           WHERE o.merchant_id = %(merchant)s AND o.source = x.source AND o.number = x.number
          OFFSET 0) p
), summed AS (
    UPDATE past_order p
       SET payable = s.payable, payable_minor = round(s.payable * s.factor)
      FROM (SELECT g.past_order_id, g.factor, l.payable
              FROM given g
             CROSS JOIN LATERAL (
                  SELECT coalesce(sum(o.payable) FILTER (WHERE o.state <> 'cancelled'), 0) AS payable
                    FROM past_order_line o
                   WHERE o.merchant_id = %(merchant)s AND o.past_order_id = g.past_order_id
                     AND o.line_number <= g.lines) l) s
     WHERE p.merchant_id = %(merchant)s AND p.past_order_id = s.past_order_id
       AND p.payable <> s.payable
), gone AS (
    DELETE FROM past_order_line l
     USING (SELECT o.ctid AS place
              FROM given g
             CROSS JOIN LATERAL (
                  SELECT k.ctid FROM past_order_line k
                   WHERE k.merchant_id = %(merchant)s AND k.past_order_id = g.past_order_id
                     AND k.line_number > g.lines OFFSET 0) o) x
     WHERE l.ctid = x.place
    RETURNING l.past_order_id
)
SELECT past_order_id FROM gone

-- name: totals
-- What is kept, by source and currency.
SELECT p.source, p.currency, count(DISTINCT p.past_order_id) AS orders, count(*) AS lines,
       sum(l.units) AS units, sum(l.payable) AS payable,
       min(p.placed_at) AS first_at, max(p.placed_at) AS last_at
  FROM past_order p
  JOIN past_order_line l ON l.merchant_id = p.merchant_id AND l.past_order_id = p.past_order_id
 WHERE p.merchant_id = %(merchant)s
 GROUP BY p.source, p.currency
 ORDER BY p.source, p.currency
