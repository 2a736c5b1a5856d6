-- name: ground
-- What an import stands on: the merchant's currency and language, and the location by its code
-- (the default one without a code).
SELECT m.currency, m.language, l.location_id
  FROM merchant m
  LEFT JOIN location l ON l.merchant_id = m.merchant_id
   AND CASE WHEN %(location)s::text IS NULL THEN l.is_default ELSE l.code = %(location)s END
 WHERE m.merchant_id = %(merchant)s

-- name: plan_afresh
-- A first import fills empty tables: a plan kept from its beginning would read them whole, chunk
-- after chunk (measured: 100,000 variants in 112 s instead of 33 s). Holds for this transaction.
SELECT set_config('plan_cache_mode', 'force_custom_plan', true)

-- name: lock_products
-- Nobody else edits these products while they are compared and written. Levels come later.
SELECT 1 FROM product
 WHERE merchant_id = %(merchant)s AND model_code = ANY (%(models)s::text[])
 ORDER BY product_id FOR NO KEY UPDATE

-- name: lock_variants
-- Nobody else edits these variants while they are compared and written.
SELECT 1 FROM variant
 WHERE merchant_id = %(merchant)s AND sku = ANY (%(skus)s::text[])
 ORDER BY variant_id FOR NO KEY UPDATE

-- name: variants
-- Variants as an import compares them, with the units counted at one location.
SELECT v.variant_id,
       EXISTS (SELECT 1 FROM bundle_component b WHERE b.merchant_id = v.merchant_id
                  AND b.component_variant_id = v.variant_id) AS is_component,
       v.sku, p.model_code, v.currency, v.barcode, v.attributes, v.list_price_minor,
       v.sale_price_minor, v.cost_minor, v.vat_percent, v.desi, v.weight_g, v.length_mm,
       v.width_mm, v.height_mm, v.handling_days, v.origin_country,
       ARRAY(SELECT i.source_url FROM media i
              WHERE i.merchant_id = v.merchant_id AND i.product_id = v.product_id
                AND i.variant_id = v.variant_id
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
  FROM variant v
  JOIN product p ON p.merchant_id = v.merchant_id AND p.product_id = v.product_id
 WHERE v.merchant_id = %(merchant)s AND v.sku = ANY (%(skus)s::text[])

-- name: products
-- Products as an import compares them.
SELECT p.model_code, p.brand, p.category_path, p.attributes,
       coalesce((SELECT jsonb_object_agg(c.language, c.title) FROM product_content c
                  WHERE c.merchant_id = p.merchant_id AND c.product_id = p.product_id), '{}'),
       coalesce((SELECT jsonb_object_agg(c.language, c.description_html) FROM product_content c
                  WHERE c.merchant_id = p.merchant_id AND c.product_id = p.product_id), '{}'),
       ARRAY(SELECT i.source_url FROM media i
              WHERE i.merchant_id = p.merchant_id AND i.product_id = p.product_id
                AND i.variant_id IS NULL
              ORDER BY i.position, i.media_id)
  FROM product p
 WHERE p.merchant_id = %(merchant)s AND p.model_code = ANY (%(models)s::text[])

-- name: barcode_holders
-- Which variants hold these barcodes.
SELECT barcode, sku FROM variant
 WHERE merchant_id = %(merchant)s AND barcode = ANY (%(barcodes)s::text[])
 ORDER BY barcode, sku

-- name: put_products
-- Create or update products; the source stays that of the creation.
INSERT INTO product (merchant_id, model_code, brand, category_path, attributes, search_text,
                     sort_key, source, created_at, updated_at)
SELECT %(merchant)s, x.model_code, x.brand, x.category_path, x.attributes, x.search_text,
       x.sort_key, %(source)s, %(now)s, %(now)s
  FROM json_to_recordset(%(rows)s::json)
       AS x (model_code text, brand text, category_path text, attributes jsonb, search_text text,
             sort_key text)
 ORDER BY x.model_code
ON CONFLICT (merchant_id, model_code) DO UPDATE
   SET brand = excluded.brand, category_path = excluded.category_path,
       attributes = excluded.attributes, search_text = excluded.search_text,
       sort_key = excluded.sort_key, updated_at = excluded.updated_at

-- name: put_contents
-- Titles and descriptions by language.
INSERT INTO product_content (merchant_id, product_id, language, title, description_html)
SELECT p.merchant_id, p.product_id, t.key, t.value, coalesce(x.descriptions ->> t.key, '')
  FROM json_to_recordset(%(rows)s::json) AS x (model_code text, titles json, descriptions json)
  JOIN product p ON p.merchant_id = %(merchant)s AND p.model_code = x.model_code
 CROSS JOIN LATERAL json_each_text(x.titles) AS t
 ORDER BY p.product_id, t.key
ON CONFLICT (merchant_id, product_id, language) DO UPDATE
   SET title = excluded.title, description_html = excluded.description_html

-- name: drop_product_media
-- Pictures that the stated lists no longer name.
DELETE FROM media i
 USING json_to_recordset(%(rows)s::json) AS x (model_code text, image_urls jsonb), product p
 WHERE p.merchant_id = %(merchant)s AND p.model_code = x.model_code
   AND i.merchant_id = p.merchant_id AND i.product_id = p.product_id AND i.variant_id IS NULL
   AND NOT x.image_urls ? i.source_url

-- name: put_product_media
-- Pictures of whole products, in the stated order.
INSERT INTO media (merchant_id, product_id, position, source_url)
SELECT p.merchant_id, p.product_id, u.place - 1, u.url
  FROM json_to_recordset(%(rows)s::json) AS x (model_code text, image_urls json)
  JOIN product p ON p.merchant_id = %(merchant)s AND p.model_code = x.model_code
 CROSS JOIN LATERAL json_array_elements_text(x.image_urls) WITH ORDINALITY AS u (url, place)
 ORDER BY p.product_id, u.place
ON CONFLICT (merchant_id, product_id, variant_id, source_url) DO UPDATE
   SET position = excluded.position

-- name: put_variants
-- Create or update variants; the product is named by its model code.
INSERT INTO variant (merchant_id, product_id, sku, barcode, attributes, currency,
                     list_price_minor, sale_price_minor, cost_minor, vat_percent, desi, weight_g,
                     length_mm, width_mm, height_mm, handling_days, origin_country, is_bundle,
                     created_at, updated_at)
SELECT p.merchant_id, p.product_id, x.sku, x.barcode, x.attributes, x.currency,
       x.list_price_minor, x.sale_price_minor, x.cost_minor, x.vat_percent, x.desi, x.weight_g,
       x.length_mm, x.width_mm, x.height_mm, x.handling_days, x.origin_country,
       x.bundle <> '{}', %(now)s, %(now)s
  FROM json_to_recordset(%(rows)s::json)
       AS x (sku text, model_code text, barcode text, attributes jsonb, currency text,
             list_price_minor bigint, sale_price_minor bigint, cost_minor bigint,
             vat_percent numeric, desi numeric, weight_g integer, length_mm integer,
             width_mm integer, height_mm integer, handling_days integer, origin_country text,
             bundle jsonb)
  JOIN product p ON p.merchant_id = %(merchant)s AND p.model_code = x.model_code
 ORDER BY x.sku
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

-- name: drop_variant_media
-- Pictures of variants that the stated lists no longer name.
DELETE FROM media i
 USING json_to_recordset(%(rows)s::json) AS x (sku text, image_urls jsonb), variant v
 WHERE v.merchant_id = %(merchant)s AND v.sku = x.sku AND i.merchant_id = v.merchant_id
   AND i.product_id = v.product_id AND i.variant_id = v.variant_id
   AND NOT x.image_urls ? i.source_url

-- name: put_variant_media
-- Pictures of single variants, in the stated order.
INSERT INTO media (merchant_id, product_id, variant_id, position, source_url)
SELECT v.merchant_id, v.product_id, v.variant_id, u.place - 1, u.url
  FROM json_to_recordset(%(rows)s::json) AS x (sku text, image_urls json)
  JOIN variant v ON v.merchant_id = %(merchant)s AND v.sku = x.sku
 CROSS JOIN LATERAL json_array_elements_text(x.image_urls) WITH ORDINALITY AS u (url, place)
 ORDER BY v.variant_id, u.place
ON CONFLICT (merchant_id, product_id, variant_id, source_url) DO UPDATE
   SET position = excluded.position

-- name: follow_media
-- Pictures of variants that moved to another product.
UPDATE media i SET product_id = v.product_id
  FROM variant v
 WHERE v.merchant_id = %(merchant)s AND v.sku = ANY (%(skus)s::text[])
   AND i.merchant_id = v.merchant_id AND i.variant_id = v.variant_id
   AND i.product_id <> v.product_id

-- name: drop_empty_products
-- Products whose last variant has moved away.
DELETE FROM product p
 WHERE p.merchant_id = %(merchant)s AND p.model_code = ANY (%(models)s::text[])
   AND NOT EXISTS (SELECT 1 FROM variant v
                    WHERE v.merchant_id = p.merchant_id AND v.product_id = p.product_id)

-- name: drop_components
-- Components that a bundle no longer has.
DELETE FROM bundle_component b
 USING json_to_recordset(%(rows)s::json) AS x (sku text, bundle jsonb), variant v, variant c
 WHERE v.merchant_id = %(merchant)s AND v.sku = x.sku AND b.merchant_id = v.merchant_id
   AND b.bundle_variant_id = v.variant_id AND c.merchant_id = b.merchant_id
   AND c.variant_id = b.component_variant_id AND NOT x.bundle ? c.sku

-- name: put_components
-- What bundles are made of.
INSERT INTO bundle_component (merchant_id, bundle_variant_id, component_variant_id, units)
SELECT v.merchant_id, v.variant_id, c.variant_id, e.value::integer
  FROM json_to_recordset(%(rows)s::json) AS x (sku text, bundle json)
  JOIN variant v ON v.merchant_id = %(merchant)s AND v.sku = x.sku
 CROSS JOIN LATERAL json_each_text(x.bundle) AS e
  JOIN variant c ON c.merchant_id = v.merchant_id AND c.sku = e.key
 ORDER BY v.variant_id, c.variant_id
ON CONFLICT (merchant_id, bundle_variant_id, component_variant_id) DO UPDATE
   SET units = excluded.units

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
