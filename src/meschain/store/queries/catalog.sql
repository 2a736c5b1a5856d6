-- name: ground
-- What an import stands on: the merchant's currency and language, and the location by its code
-- (the default one without a code).
SELECT m.currency, m.language, l.location_id
  FROM merchant m
  LEFT JOIN location l ON l.merchant_id = m.merchant_id
   AND CASE WHEN %(location)s::text IS NULL THEN l.is_default ELSE l.code = %(location)s END
 WHERE m.merchant_id = %(merchant)s

-- name: plan_by_key
-- A first import fills empty tables, whose size the planner learns late: no table is read whole,
-- whatever it believes. Holds for this transaction, and for the checks of foreign keys in it.
SELECT set_config('enable_seqscan', 'off', true)

-- name: lock_products
-- Nobody else edits these products while they are compared and written. Levels come later.
SELECT 1 FROM (
    SELECT p.product_id
      FROM unnest(%(models)s::text[]) AS x (model_code)
     CROSS JOIN LATERAL (
          SELECT o.product_id FROM product o
           WHERE o.merchant_id = %(merchant)s AND o.model_code = x.model_code OFFSET 0) p
     ORDER BY p.product_id) k
 CROSS JOIN LATERAL (
      SELECT 1 FROM product o WHERE o.merchant_id = %(merchant)s AND o.product_id = k.product_id
         FOR NO KEY UPDATE) held

-- name: lock_variants
-- Nobody else edits these variants while they are compared and written.
SELECT 1 FROM (
    SELECT v.variant_id
      FROM unnest(%(skus)s::text[]) AS x (sku)
     CROSS JOIN LATERAL (
          SELECT o.variant_id FROM variant o
           WHERE o.merchant_id = %(merchant)s AND o.sku = x.sku OFFSET 0) v
     ORDER BY v.variant_id) k
 CROSS JOIN LATERAL (
      SELECT 1 FROM variant o WHERE o.merchant_id = %(merchant)s AND o.variant_id = k.variant_id
         FOR NO KEY UPDATE) held

-- name: variants
-- Variants as an import compares them, with the units counted at one location.
SELECT v.variant_id, v.product_id,
       EXISTS (SELECT 1 FROM bundle_component b WHERE b.merchant_id = v.merchant_id
                  AND b.component_variant_id = v.variant_id) AS is_component,
       v.sku, p.model_code, v.currency, v.barcode, v.attributes, v.list_price_minor,
       v.sale_price_minor, v.cost_minor, v.vat_percent, v.desi, v.weight_g, v.length_mm,
       v.width_mm, v.height_mm, v.handling_days, v.origin_country,
       ARRAY(SELECT i.source_url FROM media i
              WHERE i.merchant_id = v.merchant_id AND i.product_id = v.product_id
                AND i.variant_id = v.variant_id AND i.source_url NOT LIKE 'local:%%'
              ORDER BY i.position, i.media_id) AS image_urls,
       CASE WHEN v.is_bundle THEN
           (SELECT jsonb_object_agg(c.sku, b.units ORDER BY c.sku) FROM bundle_component b
              JOIN variant c ON c.merchant_id = b.merchant_id
                            AND c.variant_id = b.component_variant_id
             WHERE b.merchant_id = v.merchant_id AND b.bundle_variant_id = v.variant_id)
       END AS bundle,
       (SELECT s.on_hand FROM stock_level s
         WHERE s.merchant_id = v.merchant_id AND s.variant_id = v.variant_id
           AND s.location_id = %(location)s) AS on_hand
  FROM unnest(%(skus)s::text[]) AS x (sku)
 CROSS JOIN LATERAL (
      SELECT * FROM variant o WHERE o.merchant_id = %(merchant)s AND o.sku = x.sku OFFSET 0) v
 CROSS JOIN LATERAL (
      SELECT o.model_code FROM product o
       WHERE o.merchant_id = v.merchant_id AND o.product_id = v.product_id OFFSET 0) p

-- name: products
-- Products as an import compares them.
SELECT p.product_id, p.model_code, p.brand, p.category_path, p.attributes,
       coalesce((SELECT jsonb_object_agg(c.language, c.title) FROM product_content c
                  WHERE c.merchant_id = p.merchant_id AND c.product_id = p.product_id), '{}'),
       coalesce((SELECT jsonb_object_agg(c.language, c.description_html) FROM product_content c
                  WHERE c.merchant_id = p.merchant_id AND c.product_id = p.product_id), '{}'),
       ARRAY(SELECT i.source_url FROM media i
              WHERE i.merchant_id = p.merchant_id AND i.product_id = p.product_id
                AND i.variant_id IS NULL AND i.source_url NOT LIKE 'local:%%'
              ORDER BY i.position, i.media_id)
  FROM unnest(%(models)s::text[]) AS x (model_code)
 CROSS JOIN LATERAL (
      SELECT * FROM product o
       WHERE o.merchant_id = %(merchant)s AND o.model_code = x.model_code OFFSET 0) p

-- name: barcode_holders
-- Which variants hold these barcodes.
SELECT v.barcode, v.sku
  FROM unnest(%(barcodes)s::text[]) AS x (barcode)
 CROSS JOIN LATERAL (
      SELECT o.barcode, o.sku FROM variant o
       WHERE o.merchant_id = %(merchant)s AND o.barcode = x.barcode OFFSET 0) v
 ORDER BY v.barcode, v.sku

-- name: put_products
-- Create or update products; the source stays that of the creation.
INSERT INTO product (merchant_id, model_code, brand, category_path, attributes, search_text,
                     sort_key, source, created_at, updated_at)
SELECT %(merchant)s, x.model_code, x.brand, x.category_path, coalesce(x.attributes, '{}'), x.search_text,
       x.sort_key, %(source)s, %(now)s, %(now)s
  FROM json_to_recordset(%(rows)s::json)
       AS x (model_code text, brand text, category_path text, attributes jsonb, search_text text,
             sort_key text)
 ORDER BY x.model_code
ON CONFLICT (merchant_id, model_code) DO UPDATE
   SET brand = excluded.brand, category_path = excluded.category_path,
       attributes = excluded.attributes, search_text = excluded.search_text,
       sort_key = excluded.sort_key, updated_at = excluded.updated_at
RETURNING model_code, product_id

-- name: put_contents
-- Titles and descriptions by language.
INSERT INTO product_content (merchant_id, product_id, language, title, description_html)
SELECT %(merchant)s, x.product_id, x.language, x.title, x.description_html
  FROM json_to_recordset(%(rows)s::json)
       AS x (product_id bigint, language text, title text, description_html text)
ON CONFLICT (merchant_id, product_id, language) DO UPDATE
   SET title = excluded.title, description_html = excluded.description_html

-- name: drop_contents
-- Words in languages that products no longer have; only putting an import back takes any away.
DELETE FROM product_content c
 USING json_to_recordset(%(rows)s::json) AS x (product_id bigint, language text)
 WHERE c.merchant_id = %(merchant)s AND c.product_id = x.product_id AND c.language = x.language

-- name: put_variants
-- Create or update variants; arrays run in parallel: the row, the product it belongs to.
INSERT INTO variant (merchant_id, product_id, sku, barcode, attributes, currency,
                     list_price_minor, sale_price_minor, cost_minor, vat_percent, desi, weight_g,
                     length_mm, width_mm, height_mm, handling_days, origin_country, is_bundle,
                     created_at, updated_at)
SELECT %(merchant)s, x.product_id, x.sku, x.barcode, coalesce(x.attributes, '{}'), x.currency,
       x.list_price_minor, x.sale_price_minor, x.cost_minor, x.vat_percent, x.desi, x.weight_g,
       x.length_mm, x.width_mm, x.height_mm, x.handling_days, x.origin_country,
       x.bundle IS NOT NULL, %(now)s, %(now)s
  FROM ROWS FROM (
       json_to_recordset(%(rows)s::json)
           AS (sku text, barcode text, attributes jsonb, currency text, list_price_minor bigint,
               sale_price_minor bigint, cost_minor bigint, vat_percent numeric, desi numeric,
               weight_g integer, length_mm integer, width_mm integer, height_mm integer,
               handling_days integer, origin_country text, bundle json),
       unnest(%(products)s::bigint[]))
       AS x (sku, barcode, attributes, currency, list_price_minor, sale_price_minor, cost_minor,
             vat_percent, desi, weight_g, length_mm, width_mm, height_mm, handling_days,
             origin_country, bundle, product_id)
ON CONFLICT (merchant_id, sku) DO UPDATE
   SET product_id = excluded.product_id, barcode = excluded.barcode,
       attributes = excluded.attributes, currency = excluded.currency,
       list_price_minor = excluded.list_price_minor, sale_price_minor = excluded.sale_price_minor,
       cost_minor = excluded.cost_minor, vat_percent = excluded.vat_percent, desi = excluded.desi,
       weight_g = excluded.weight_g, length_mm = excluded.length_mm,
       width_mm = excluded.width_mm, height_mm = excluded.height_mm,
       handling_days = excluded.handling_days, origin_country = excluded.origin_country,
       is_bundle = excluded.is_bundle, updated_at = excluded.updated_at
RETURNING sku, variant_id

-- name: drop_media
-- Pictures that the stated lists of products (variant_id NULL) and variants no longer name. Those that
-- came as files are named by no list.
DELETE FROM media i
 USING json_to_recordset(%(rows)s::json)
       AS x (product_id bigint, variant_id bigint, image_urls jsonb)
 WHERE i.merchant_id = %(merchant)s AND i.product_id = x.product_id
   AND i.variant_id IS NOT DISTINCT FROM x.variant_id AND NOT x.image_urls ? i.source_url
   AND i.source_url NOT LIKE 'local:%%'

-- name: put_media
-- Pictures of products (variant_id NULL) and of single variants, each in its place.
INSERT INTO media (merchant_id, product_id, variant_id, position, source_url)
SELECT %(merchant)s, x.product_id, x.variant_id, x.position, x.source_url
  FROM json_to_recordset(%(rows)s::json)
       AS x (product_id bigint, variant_id bigint, position integer, source_url text)
ON CONFLICT (merchant_id, product_id, variant_id, source_url) DO UPDATE
   SET position = excluded.position

-- name: follow_media
-- Pictures of variants that moved to another product.
UPDATE media i SET product_id = x.product_id
  FROM unnest(%(variants)s::bigint[], %(homes)s::bigint[], %(products)s::bigint[])
           AS x (variant_id, home_id, product_id)
 WHERE i.merchant_id = %(merchant)s AND i.product_id = x.home_id AND i.variant_id = x.variant_id

-- name: drop_empty_products
-- Products whose last variant has moved away.
DELETE FROM product p
 USING unnest(%(models)s::text[]) AS x (model_code)
 WHERE p.merchant_id = %(merchant)s AND p.model_code = x.model_code
   AND NOT EXISTS (SELECT 1 FROM variant v
                    WHERE v.merchant_id = p.merchant_id AND v.product_id = p.product_id)

-- name: drop_components
-- What these bundles were made of.
DELETE FROM bundle_component b USING unnest(%(variants)s::bigint[]) AS x (variant_id)
 WHERE b.merchant_id = %(merchant)s AND b.bundle_variant_id = x.variant_id

-- name: put_components
-- What bundles are made of.
INSERT INTO bundle_component (merchant_id, bundle_variant_id, component_variant_id, units)
SELECT %(merchant)s, x.bundle_id, x.component_id, x.units
  FROM unnest(%(bundles)s::bigint[], %(components)s::bigint[], %(units)s::integer[])
           AS x (bundle_id, component_id, units)

-- name: lock_component_levels
-- Levels that the shown quantity of these bundles follows from, in the one order of locks.
SELECT 1 FROM stock_level s
 WHERE s.merchant_id = %(merchant)s
   AND s.variant_id IN (SELECT b.component_variant_id FROM bundle_component b
                         WHERE b.merchant_id = %(merchant)s
                           AND b.bundle_variant_id = ANY (%(variants)s::bigint[]))
 ORDER BY s.variant_id, s.location_id FOR UPDATE OF s

-- name: lock_levels
-- Counted units at one location, locked in the one order of locks; never counted: absent.
SELECT variant_id, on_hand FROM stock_level
 WHERE merchant_id = %(merchant)s AND location_id = %(location)s
   AND variant_id = ANY (%(variants)s::bigint[])
 ORDER BY variant_id, location_id FOR UPDATE

-- name: move_stock
-- Book counted units; see functions/01_stock.sql. Returns the accounts touched.
SELECT move_stock(%(merchant)s, %(location)s, %(kind)s, %(variants)s::bigint[],
                  %(deltas)s::integer[], %(reason)s, %(actor)s, %(now)s, %(now_us)s)

-- name: refresh_price
-- Desired prices follow the variants. Returns the accounts touched.
SELECT refresh_desired_price(%(merchant)s, %(variants)s::bigint[], %(now_us)s)

-- name: refresh_quantity
-- Desired quantities follow what bundles are made of. Returns the accounts touched.
SELECT refresh_desired_quantity(%(merchant)s, %(variants)s::bigint[], %(now_us)s)

-- name: begin_import
-- An import run; without an end it was cut short.
INSERT INTO import_run (merchant_id, kind, file_name, file_hash, actor, started_at)
VALUES (%(merchant)s, %(kind)s, %(file_name)s, %(file_hash)s, %(actor)s, %(now)s)
RETURNING import_id

-- name: end_import
-- What became of it.
UPDATE import_run SET ended_at = %(now)s, counts = %(counts)s::jsonb
 WHERE merchant_id = %(merchant)s AND import_id = %(import)s

-- name: add_audit
-- Who did what.
INSERT INTO audit (merchant_id, at, actor, action, facts)
VALUES (%(merchant)s, %(now)s, %(actor)s, %(action)s, %(facts)s::jsonb)

-- name: add_event
-- One event for one chunk, with the ids that changed.
INSERT INTO event (merchant_id, day, at_us, kind, facts)
VALUES (%(merchant)s, (%(now)s::timestamptz AT TIME ZONE 'UTC')::date, %(now_us)s, %(kind)s,
        %(facts)s::jsonb)
