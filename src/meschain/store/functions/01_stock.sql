-- Stock: the one place that says what is available and what each listing should show.

-- What one account is told: floor(available × share) − buffer, within [0, maximum].
-- The same rule as domain.stock.published_quantity; a property test holds the two equal.
CREATE OR REPLACE FUNCTION published_quantity(
    p_available bigint, p_share_bps integer, p_buffer integer, p_maximum integer
) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT greatest(0, least(p_available * p_share_bps / 10000 - p_buffer,
                             coalesce(p_maximum, 2147483647)))::integer
$$;

-- What there is of a variant at these locations (NULL: at all), a bundle by its scarcest component,
-- and how fast it sells. A procedure, so that it stays a call: written out in the plan of its
-- caller, it would be set up for every sale, and hardly any needs it.
DROP FUNCTION IF EXISTS stock_at(integer, bigint, boolean, integer[]);
CREATE FUNCTION stock_at(
    p_merchant integer, p_variant bigint, p_is_bundle boolean, p_locations integer[]
) RETURNS TABLE (available bigint, velocity bigint) LANGUAGE plpgsql STABLE ROWS 1 AS $$
BEGIN
    RETURN QUERY
    SELECT coalesce(min(part.available / part.units), 0), coalesce(max(part.velocity), 0)
      FROM (
          -- Units missing at one location are taken from the others: what is promised beyond the
          -- stock of one place must not be shown as free in another.
          SELECT c.units,
                 greatest(0, coalesce(sum(sl.on_hand - sl.reserved - sl.safety_stock), 0))
                     AS available,
                 coalesce(sum(sl.velocity_milli), 0) AS velocity
            FROM (
                SELECT p_variant AS component_id, 1 AS units WHERE NOT p_is_bundle
                UNION ALL
                SELECT b.component_variant_id, b.units FROM bundle_component b
                 WHERE p_is_bundle AND b.merchant_id = p_merchant
                   AND b.bundle_variant_id = p_variant
            ) c
            LEFT JOIN stock_level sl
              ON sl.merchant_id = p_merchant AND sl.variant_id = c.component_id
             AND (p_locations IS NULL OR sl.location_id = ANY (p_locations))
           GROUP BY c.component_id, c.units
      ) part;
END
$$;

-- Lock the levels of these variants, everywhere or at one location, in the one order of locks. Each
-- is found by its key, whatever the planner believes of the table. Returns whether more is promised
-- somewhere than there is.
CREATE OR REPLACE FUNCTION hold_levels(
    p_merchant integer, p_variants bigint[], p_location integer DEFAULT NULL
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_is_short boolean;
BEGIN
    SELECT coalesce(bool_or(sl.is_short), false) INTO v_is_short
      FROM (SELECT DISTINCT unnest(p_variants) AS variant_id ORDER BY 1) x
     CROSS JOIN LATERAL (
          SELECT s.reserved > s.on_hand AS is_short FROM stock_level s
           WHERE s.merchant_id = p_merchant AND s.variant_id = x.variant_id
             AND (p_location IS NULL OR s.location_id = p_location)
           ORDER BY s.location_id FOR UPDATE) sl;
    RETURN v_is_short;
END
$$;

-- Bring the desired quantities of every listing of these variants (and of the bundles they are
-- part of) up to date with the stock levels; mark what changed dirty. The caller holds the locks
-- on the levels. Returns the accounts touched, for the wake-up after the commit.
CREATE OR REPLACE FUNCTION refresh_desired_quantity(
    p_merchant integer, p_variants bigint[], p_now_us bigint
) RETURNS integer[] LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_variants bigint[];
    v_accounts integer[];
BEGIN
    v_variants := ARRAY(
        SELECT unnest(p_variants)
        UNION
        SELECT b.bundle_variant_id
          FROM unnest(p_variants) AS x (variant_id)
         CROSS JOIN LATERAL (
              SELECT c.bundle_variant_id FROM bundle_component c
               WHERE c.merchant_id = p_merchant AND c.component_variant_id = x.variant_id
              OFFSET 0) b);

    -- Here as below each row finds the next by its whole key: LATERAL … OFFSET 0 leaves the planner no
    -- other way. While it takes a table that was just filled for nearly empty, it would read all rows
    -- of the merchant and pick from them.
    PERFORM 1
       FROM (SELECT l.account_id, l.listing_id
               FROM unnest(v_variants) AS x (variant_id)
              CROSS JOIN LATERAL (
                   SELECT o.account_id, o.listing_id, o.state FROM listing o
                    WHERE o.merchant_id = p_merchant AND o.variant_id = x.variant_id
                   OFFSET 0) l
              -- Asked here, not inside: else the index of the open listings by account would serve.
              WHERE l.state <> 'closed'
              ORDER BY l.listing_id, l.account_id) l
      CROSS JOIN LATERAL (
           SELECT 1 FROM offer_desired_quantity d
            WHERE d.merchant_id = p_merchant AND d.account_id = l.account_id
              AND d.listing_id = l.listing_id FOR UPDATE) d;

    -- A fresh statement, so a fresh snapshot: what others committed while we waited is seen.
    WITH changed AS (
        UPDATE offer_desired_quantity d
           SET quantity = w.quantity, revision = d.revision + 1
          FROM (
              SELECT l.account_id, l.listing_id, coalesce(own.velocity, s.velocity) AS velocity,
                     published_quantity(
                         coalesce(own.available, s.available),
                         coalesce(l.share_bps, a.share_bps), coalesce(l.buffer_units, a.buffer_units),
                         least(l.quantity_max, a.quantity_max)) AS quantity
                FROM unnest(v_variants) AS x (variant_id)
               CROSS JOIN LATERAL (
                    -- Once a variant: most are no bundles, and most accounts are fed from all
                    -- locations.
                    SELECT v.variant_id, v.is_bundle, greatest(0, sum.free) AS available, sum.velocity
                      FROM variant v
                     CROSS JOIN LATERAL (
                          SELECT coalesce(sum(sl.on_hand - sl.reserved - sl.safety_stock), 0) AS free,
                                 coalesce(sum(sl.velocity_milli), 0) AS velocity
                            FROM stock_level sl
                           WHERE sl.merchant_id = p_merchant AND sl.variant_id = x.variant_id) sum
                     WHERE v.merchant_id = p_merchant AND v.variant_id = x.variant_id
                    OFFSET 0) s
               CROSS JOIN LATERAL (
                    SELECT o.account_id, o.listing_id, o.state, o.share_bps, o.buffer_units,
                           o.quantity_max
                      FROM listing o
                     WHERE o.merchant_id = p_merchant AND o.variant_id = s.variant_id
                    OFFSET 0) l
               CROSS JOIN LATERAL (
                    SELECT o.share_bps, o.buffer_units, o.quantity_max, o.location_ids FROM account o
                     WHERE o.merchant_id = p_merchant AND o.account_id = l.account_id
                    OFFSET 0) a
                LEFT JOIN LATERAL (
                    SELECT o.available, o.velocity
                      FROM stock_at(p_merchant, s.variant_id, s.is_bundle, a.location_ids) o
                     WHERE s.is_bundle OR a.location_ids IS NOT NULL
                    OFFSET 0
                ) own ON true
               WHERE l.state <> 'closed'
              OFFSET 0
          ) w
         WHERE d.merchant_id = p_merchant AND d.account_id = w.account_id
           AND d.listing_id = w.listing_id AND d.quantity <> w.quantity
        RETURNING d.account_id, d.listing_id, d.quantity, w.velocity
    ), marked AS (
        INSERT INTO offer_dirty AS o
            (merchant_id, account_id, listing_id, field, urgency, rank, since_us)
        SELECT p_merchant, c.account_id, c.listing_id, 1,
               -- Down from what stands there, or from what is on its way there.
               CASE WHEN c.quantity < k.quantity THEN 0
                    WHEN c.quantity < (
                        SELECT max(i.quantity) FROM offer_inflight i
                         WHERE i.merchant_id = p_merchant AND i.account_id = c.account_id
                           AND i.listing_id = c.listing_id AND i.field = 1) THEN 0
                    ELSE 3 END,
               -least(c.velocity, 2000000000)::integer, p_now_us
          FROM changed c
          LEFT JOIN offer_acknowledged k
            ON k.merchant_id = p_merchant AND k.account_id = c.account_id
           AND k.listing_id = c.listing_id
         ORDER BY c.listing_id, c.account_id
        -- Never DO NOTHING: a claim may be deleting this very row with the older value in hand.
        ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE
           SET urgency = excluded.urgency, rank = excluded.rank, not_before_us = 0,
               since_us = least(o.since_us, excluded.since_us)
        RETURNING account_id
    )
    SELECT coalesce(array_agg(DISTINCT account_id), '{}') INTO v_accounts FROM marked;
    RETURN v_accounts;
END
$$;

-- Book movements of one kind at one location and refresh what the channels should show.
-- Arrays run in parallel: variant, change of the counted units.
CREATE OR REPLACE FUNCTION move_stock(
    p_merchant integer, p_location integer, p_kind text, p_variants bigint[], p_deltas integer[],
    p_reason text, p_actor text, p_now timestamptz, p_now_us bigint
) RETURNS integer[] LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stock_level (merchant_id, variant_id, location_id)
    SELECT p_merchant, v, p_location FROM unnest(p_variants) v ORDER BY v
    ON CONFLICT DO NOTHING;
    PERFORM hold_levels(p_merchant, p_variants, p_location);
    INSERT INTO stock_movement (merchant_id, variant_id, location_id, kind, on_hand_delta,
                                reserved_delta, reason, actor, occurred_at)
    SELECT p_merchant, m.variant_id, p_location, p_kind, m.delta, 0, p_reason, p_actor, p_now
      FROM unnest(p_variants, p_deltas) AS m (variant_id, delta)
     WHERE m.delta <> 0
     ORDER BY m.variant_id;
    UPDATE stock_level l SET on_hand = l.on_hand + m.delta
      FROM (SELECT variant_id, sum(delta)::integer AS delta
              FROM unnest(p_variants, p_deltas) AS d (variant_id, delta) GROUP BY variant_id) m
     -- Found one by one by their key, changed by their place: their locks keep it theirs.
     CROSS JOIN LATERAL (
          SELECT s.ctid AS row_id FROM stock_level s
           WHERE s.merchant_id = p_merchant AND s.variant_id = m.variant_id
             AND s.location_id = p_location OFFSET 0) r
     WHERE l.ctid = r.row_id AND m.delta <> 0;
    RETURN refresh_desired_quantity(p_merchant, p_variants, p_now_us);
END
$$;

-- Set desired prices of listings to what the variants now say. One chunk of a mass change: the
-- caller passes at most 5,000 variants in key order. Returns the accounts touched.
CREATE OR REPLACE FUNCTION refresh_desired_price(
    p_merchant integer, p_variants bigint[], p_now_us bigint
) RETURNS integer[] LANGUAGE plpgsql
-- From one variant to thousands: planned for what is asked.
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_accounts integer[];
BEGIN
    PERFORM 1
       FROM listing l
       JOIN offer_desired_price d
         ON d.merchant_id = l.merchant_id AND d.account_id = l.account_id
        AND d.listing_id = l.listing_id
      WHERE l.merchant_id = p_merchant AND l.variant_id = ANY (p_variants) AND l.state <> 'closed'
      ORDER BY d.listing_id, d.account_id
        FOR UPDATE OF d;
    WITH changed AS (
        UPDATE offer_desired_price d
           SET list_minor = coalesce(l.list_price_minor, l.sale_price_minor, v.list_price_minor,
                                     v.sale_price_minor),
               sale_minor = coalesce(l.sale_price_minor, v.sale_price_minor),
               floor_minor = v.floor_price_minor, revision = d.revision + 1
          FROM listing l  -- its own price, where one was kept (05_conflict.sql)
          JOIN variant v ON v.merchant_id = l.merchant_id AND v.variant_id = l.variant_id
         WHERE l.merchant_id = p_merchant AND l.variant_id = ANY (p_variants)
           AND l.state <> 'closed' AND coalesce(l.sale_price_minor, v.sale_price_minor) IS NOT NULL
           AND d.merchant_id = p_merchant AND d.account_id = l.account_id
           AND d.listing_id = l.listing_id
           AND (d.list_minor, d.sale_minor, d.floor_minor) IS DISTINCT FROM
               (coalesce(l.list_price_minor, l.sale_price_minor, v.list_price_minor,
                         v.sale_price_minor),
                coalesce(l.sale_price_minor, v.sale_price_minor), v.floor_price_minor)
        RETURNING d.account_id, d.listing_id, d.sale_minor
    ), marked AS (
        INSERT INTO offer_dirty AS o
            (merchant_id, account_id, listing_id, field, urgency, rank, since_us)
        SELECT p_merchant, c.account_id, c.listing_id, 2,
               -- A price brake: every sale at the old, lower price loses money, so it goes first.
               CASE WHEN c.sale_minor * 100 >= k.sale_minor * 120 THEN 1 ELSE 2 END, 0, p_now_us
          FROM changed c
          LEFT JOIN offer_acknowledged k
            ON k.merchant_id = p_merchant AND k.account_id = c.account_id
           AND k.listing_id = c.listing_id
         ORDER BY c.listing_id, c.account_id
        ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE
           SET urgency = excluded.urgency, rank = excluded.rank, not_before_us = 0,
               since_us = least(o.since_us, excluded.since_us)
        RETURNING account_id
    )
    SELECT coalesce(array_agg(DISTINCT account_id), '{}') INTO v_accounts FROM marked;
    RETURN v_accounts;
END
$$;

-- Give new listings their desired rows and mark them dirty (nothing is sent to an account that is
-- not armed). Returns the accounts touched.
CREATE OR REPLACE FUNCTION open_offers(
    p_merchant integer, p_listings bigint[], p_now_us bigint
) RETURNS integer[] LANGUAGE plpgsql AS $$
DECLARE
    v_variants bigint[];
    v_accounts integer[];
BEGIN
    INSERT INTO offer_desired_quantity (merchant_id, account_id, listing_id, quantity, revision)
    SELECT l.merchant_id, l.account_id, l.listing_id, 0, 1 FROM listing l
     WHERE l.merchant_id = p_merchant AND l.listing_id = ANY (p_listings)
     ORDER BY l.listing_id
    ON CONFLICT DO NOTHING;
    INSERT INTO offer_desired_price (merchant_id, account_id, listing_id, list_minor, sale_minor,
                                     floor_minor, revision)
    SELECT l.merchant_id, l.account_id, l.listing_id,
           coalesce(l.list_price_minor, l.sale_price_minor, v.list_price_minor, v.sale_price_minor),
           coalesce(l.sale_price_minor, v.sale_price_minor), v.floor_price_minor, 1
      FROM listing l JOIN variant v USING (merchant_id, variant_id)
     WHERE l.merchant_id = p_merchant AND l.listing_id = ANY (p_listings)
       AND coalesce(l.sale_price_minor, v.sale_price_minor) IS NOT NULL
     ORDER BY l.listing_id
    ON CONFLICT DO NOTHING;
    INSERT INTO offer_acknowledged (merchant_id, account_id, listing_id)
    SELECT l.merchant_id, l.account_id, l.listing_id FROM listing l
     WHERE l.merchant_id = p_merchant AND l.listing_id = ANY (p_listings)
     ORDER BY l.listing_id
    ON CONFLICT DO NOTHING;
    INSERT INTO offer_dirty AS o (merchant_id, account_id, listing_id, field, urgency, rank, since_us)
    SELECT l.merchant_id, l.account_id, l.listing_id, f.field, CASE f.field WHEN 1 THEN 3 ELSE 2 END,
           0, p_now_us
      FROM listing l CROSS JOIN (VALUES (1), (2)) AS f (field)
     WHERE l.merchant_id = p_merchant AND l.listing_id = ANY (p_listings)
     ORDER BY l.listing_id, f.field
    ON CONFLICT (merchant_id, account_id, field, listing_id) DO UPDATE
       SET not_before_us = 0, since_us = least(o.since_us, excluded.since_us);
    SELECT array_agg(DISTINCT l.variant_id), array_agg(DISTINCT l.account_id)
      INTO v_variants, v_accounts
      FROM listing l WHERE l.merchant_id = p_merchant AND l.listing_id = ANY (p_listings);
    PERFORM refresh_desired_quantity(p_merchant, v_variants, p_now_us);
    RETURN coalesce(v_accounts, '{}');
END
$$;
