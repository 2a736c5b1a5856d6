-- name: order
-- One order by the marketplace's number; several accounts may use the same.
SELECT o.order_id, o.external_id, o.account_id, a.name AS account, a.marketplace, o.placed_at,
       o.first_seen_us, o.detected_by, o.currency, o.payable_minor, o.payment_method,
       o.micro_export, o.is_company, o.city, o.country_code, o.person_sealed, o.key_number,
       o.erased_at, o.unknown_fields
  FROM orders o
  JOIN account a ON a.merchant_id = o.merchant_id AND a.account_id = o.account_id
 WHERE o.merchant_id = %(merchant)s AND o.external_id = %(number)s
   AND (%(account)s::integer IS NULL OR o.account_id = %(account)s)
 ORDER BY o.order_id

-- name: packages
-- The packages of an order with their lines. taken_state: where the marketplace said yes to our
-- wish, and nobody has looked since.
SELECT p.external_id, p.state, p.state_raw, p.wanted_state,
       (SELECT w.state FROM package_wish w
         WHERE w.merchant_id = p.merchant_id AND w.order_id = p.order_id
           AND w.package_id = p.external_id AND w.phase = 3 AND w.state = p.wanted_state)
           AS taken_state, p.modified_at, p.carrier,
       p.cargo_code, p.tracking_number, p.desi, p.cargo_payer, p.ship_by, p.invoice_number,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'line_id', l.line_id, 'item_key', l.item_key, 'units', l.units,
                   'payable', l.payable::text, 'unit_gross', l.unit_gross::text,
                   'unit_seller_discount', l.unit_seller_discount::text,
                   'unit_marketplace_discount', l.unit_marketplace_discount::text,
                   'vat_percent', l.vat_percent::text,
                   'commission_percent', l.commission_percent::text,
                   'state_raw', l.state_raw) ORDER BY l.line_id), '[]')
          FROM package_line l
         WHERE l.merchant_id = p.merchant_id AND l.order_id = p.order_id
           AND l.package_id = p.external_id) AS lines
  FROM package p
 WHERE p.merchant_id = %(merchant)s AND p.order_id = %(order)s
 ORDER BY p.external_id

-- name: items
-- What was ordered, with the variants that we take it for.
SELECT l.item_key, v.sku, l.sku AS sku_given, l.barcode, l.title, l.units_ordered,
       l.units_backorder
  FROM order_line l
  LEFT JOIN variant v ON v.merchant_id = l.merchant_id AND v.variant_id = l.variant_id
 WHERE l.merchant_id = %(merchant)s AND l.order_id = %(order)s
 ORDER BY l.item_key

-- name: want
-- What the merchant asked for, until it stands (or is refused: NULL).
UPDATE package SET wanted_state = %(state)s
 WHERE merchant_id = %(merchant)s AND order_id = %(order)s AND external_id = %(package)s

-- name: put_wish
-- The same as work of the order lane. Asking again for what is under way, without naming another
-- invoice, changes nothing but that it is tried at once; another wish takes the place of the older
-- one. Where that one may have arrived, a cancellation or split is not replaced, nor an invoice by
-- another (no row): the package may not be the same any more.
INSERT INTO package_wish AS w (merchant_id, account_id, order_id, package_id, state, invoice_number,
                               actor, wish_us, phase, next_us, terms)
VALUES (%(merchant)s, %(account)s, %(order)s, %(package)s, %(state)s, %(invoice_number)s,
        %(actor)s, %(now_us)s, 1, 0, %(terms)s::jsonb)
ON CONFLICT (merchant_id, order_id, package_id) DO UPDATE
   SET (state, invoice_number, actor, wish_us, phase, next_us, tries, looks, is_doubtful, outcome,
        terms) =
       (SELECT excluded.state, x.invoice_number, excluded.actor, x.wish_us, x.phase,
               x.next_us, x.tries, x.looks, x.is_doubtful, x.outcome, x.terms
          FROM (SELECT w.phase < 4 AND w.state = excluded.state
                       AND excluded.invoice_number IN ('', w.invoice_number)
                       AND w.terms - 'unsupplied' IS NOT DISTINCT FROM excluded.terms - 'unsupplied'
                       AS is_same) s
         CROSS JOIN LATERAL (
                SELECT excluded.invoice_number, excluded.wish_us, 1::smallint AS phase,
                       0::bigint AS next_us, 0 AS tries, 0 AS looks, false AS is_doubtful,
                       NULL::jsonb AS outcome, excluded.terms
                 WHERE NOT s.is_same
                 UNION ALL
                SELECT w.invoice_number, w.wish_us, w.phase,
                       CASE w.phase WHEN 1 THEN 0 ELSE w.next_us END, w.tries,
                       w.looks, w.is_doubtful, w.outcome, w.terms
                 WHERE s.is_same) x)
 WHERE w.phase = 4 OR (w.phase = 1 AND (w.tries = 0 OR w.terms IS NULL AND NOT w.is_doubtful))
       OR (w.terms IS NULL AND w.state <> excluded.state)
       OR (w.state = excluded.state AND excluded.invoice_number IN ('', w.invoice_number)
           AND w.terms - 'unsupplied' IS NOT DISTINCT FROM excluded.terms - 'unsupplied')
RETURNING wish_us

-- name: due_wishes
-- Wishes whose next step is due, the oldest of each account first.
SELECT w.merchant_id, w.account_id, w.order_id, w.package_id, w.state, w.invoice_number, w.actor,
       w.wish_us, w.phase, w.tries, w.looks, w.is_doubtful, w.outcome, w.terms
  FROM unnest(%(merchants)s::integer[], %(accounts)s::integer[]) AS x (merchant_id, account_id)
 CROSS JOIN LATERAL (
       SELECT * FROM package_wish y
        WHERE y.merchant_id = x.merchant_id AND y.account_id = x.account_id AND y.phase < 4
          AND y.next_us <= %(now_us)s
        ORDER BY y.next_us, y.wish_us, y.order_id, y.package_id LIMIT %(limit)s) w

-- name: wished
-- The package of a wish as it stands, with what an action needs to name it, and what of the whole
-- order the seller has not supplied.
SELECT o.external_id, p.state, p.wanted_state, p.cargo_code,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('line_id', l.line_id, 'units', l.units)
                                  ORDER BY l.line_id), '[]')
          FROM package_line l
         WHERE l.merchant_id = p.merchant_id AND l.order_id = p.order_id
           AND l.package_id = p.external_id) AS lines,
       (SELECT coalesce(jsonb_object_agg(u.item_key, u.units), '{}')
          FROM (SELECT l.item_key, sum(l.units) AS units
                  FROM package other
                  JOIN package_line l ON l.merchant_id = other.merchant_id
                                     AND l.order_id = other.order_id
                                     AND l.package_id = other.external_id
                 WHERE other.merchant_id = p.merchant_id AND other.order_id = p.order_id
                   AND other.state = 'unsupplied'
                 GROUP BY l.item_key) u) AS unsupplied
  FROM package p
  JOIN orders o ON o.merchant_id = p.merchant_id AND o.order_id = p.order_id
 WHERE p.merchant_id = %(merchant)s AND p.order_id = %(order)s AND p.external_id = %(package)s

-- name: begin_wish
-- Intent before effect: cut off from here on, nobody knows whether the request arrived.
UPDATE package_wish SET phase = 2, tries = tries + 1, looks = 0, next_us = %(look_us)s
 WHERE merchant_id = %(merchant)s AND order_id = %(order)s AND package_id = %(package)s
   AND wish_us = %(wish_us)s AND tries = %(tries)s AND phase = 1
RETURNING tries

-- name: step_wish
-- What a step came to, unless another wish has taken its place or another owner went on with it.
UPDATE package_wish
   SET phase = %(phase)s, next_us = %(next_us)s, looks = %(looks)s, is_doubtful = %(is_doubtful)s,
       outcome = coalesce(%(outcome)s::jsonb, outcome)
 WHERE merchant_id = %(merchant)s AND order_id = %(order)s AND package_id = %(package)s
   AND wish_us = %(wish_us)s AND tries = %(tries)s AND phase < 4
RETURNING order_id

-- name: drop_wanted
-- The merchant's wish is refused or overtaken.
UPDATE package SET wanted_state = NULL
 WHERE merchant_id = %(merchant)s AND order_id = %(order)s AND external_id = %(package)s
   AND wanted_state = %(state)s

-- name: wish
-- How far a wish is; no row: a newer one took its place. A cancellation or split ends by its own
-- phase: the package does not stand where it was wished when only a part of it was meant.
SELECT w.phase, CASE WHEN w.terms IS NULL THEN p.wanted_state IS DISTINCT FROM w.state
                     ELSE w.phase = 4 END AS is_over,
       w.terms IS NULL AND p.state = w.state AS is_there, w.outcome
  FROM package_wish w
  JOIN package p ON p.merchant_id = w.merchant_id AND p.order_id = w.order_id
                AND p.external_id = w.package_id
 WHERE w.merchant_id = %(merchant)s AND w.order_id = %(order)s AND w.package_id = %(package)s
   AND w.wish_us = %(wish_us)s

-- name: put_invoice_number
-- The number that was reported with the package.
UPDATE package SET invoice_number = %(number)s
 WHERE merchant_id = %(merchant)s AND order_id = %(order)s AND external_id = %(package)s

-- name: sender
-- Whose name stands on the label.
SELECT name FROM merchant WHERE merchant_id = %(merchant)s
