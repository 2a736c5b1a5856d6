-- Erasing what is known of buyers, so that everything that is counted stays as it was.

-- Whether an order is over: each of its packages was delivered, returned or called off. A package that
-- was broken up has its parts speak for it.
CREATE OR REPLACE FUNCTION order_has_ended(p_merchant integer, p_order bigint)
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce(bool_and(coalesce(
               p.state IN ('delivered', 'returned', 'cancelled', 'unsupplied'), false)), false)
      FROM package_effects(p_merchant, p_order) e
      JOIN package p ON p.merchant_id = p_merchant AND p.order_id = p_order
                    AND p.external_id = e.package_id
     WHERE e.effect <> 'none'
$$;

-- Erase the buyers' data of those of these orders that have ended; returns them. Amounts, VAT, lines,
-- numbers of orders and invoices, city and country stay.
CREATE OR REPLACE FUNCTION erase_orders(p_merchant integer, p_orders bigint[], p_now timestamptz)
RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    v_orders bigint[];
BEGIN
    -- The order's row first, as intake does: then what is read of its packages is the latest.
    PERFORM 1 FROM orders WHERE merchant_id = p_merchant AND order_id = ANY (p_orders)
      ORDER BY order_id FOR UPDATE;
    SELECT coalesce(array_agg(o.order_id ORDER BY o.order_id), '{}') INTO v_orders
      FROM orders o
     WHERE o.merchant_id = p_merchant AND o.order_id = ANY (p_orders) AND o.erased_at IS NULL
       AND order_has_ended(p_merchant, o.order_id);
    UPDATE orders
       SET erased_at = p_now, person_sealed = NULL, raw_sealed = NULL, key_number = NULL,
           unknown_fields = '{}'
     WHERE merchant_id = p_merchant AND order_id = ANY (v_orders);
    -- With these a carrier tells the recipient; an own courier's may be a telephone number.
    UPDATE package SET cargo_code = '', tracking_number = '', tracking_url = ''
     WHERE merchant_id = p_merchant AND order_id = ANY (v_orders);
    UPDATE package_line SET extra = '{}'
     WHERE merchant_id = p_merchant AND order_id = ANY (v_orders) AND extra <> '{}';
    UPDATE invoice SET url = '' WHERE merchant_id = p_merchant AND order_id = ANY (v_orders);
    UPDATE return_line r SET reason = ''
      FROM return_claim c
     WHERE c.merchant_id = p_merchant AND c.order_id = ANY (v_orders)
       AND r.merchant_id = p_merchant AND r.return_id = c.return_id;
    RETURN v_orders;
END
$$;

-- What an observation says of the packages of an order that was erased: all but the buyer's part.
CREATE OR REPLACE FUNCTION without_buyer(p_packages jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_agg(
               package || '{"cargo_code": "", "tracking_number": "", "tracking_url": ""}'
               || jsonb_build_object('lines', (
                      SELECT coalesce(jsonb_agg(line || '{"extra": {}}'), '[]')
                        FROM jsonb_array_elements(package -> 'lines') line))), '[]')
      FROM jsonb_array_elements(p_packages) package
$$;
