-- Buyers' personal data: kept as long as each account states, and erased when somebody asks.
ALTER TABLE account
    ADD COLUMN personal_days integer NOT NULL DEFAULT 180 CHECK (personal_days BETWEEN 1 AND 3650);

-- Since when the buyer's data is gone; nothing that is seen later brings it back.
ALTER TABLE orders ADD COLUMN erased_at timestamptz;
ALTER TABLE past_order ADD COLUMN erased_at timestamptz;

-- What is still to be looked at, oldest first. The merchant last, as in 0007.
CREATE INDEX orders_not_erased ON orders (account_id, placed_at, order_id, merchant_id)
    WHERE erased_at IS NULL;

-- Which orders' buyers asked: by the order's number and nothing of the buyer. It also stands for orders
-- that are not here, since a restored backup may be older than they are.
CREATE TABLE erasure_request (
    merchant_id integer NOT NULL REFERENCES merchant,
    account_id  integer NOT NULL DEFAULT 0,    -- 0: a past order
    source      text NOT NULL DEFAULT '',      -- of a past order
    number      text NOT NULL,
    asked_at    timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, account_id, source, number)
);

ALTER TABLE erasure_request ENABLE ROW LEVEL SECURITY;
ALTER TABLE erasure_request FORCE ROW LEVEL SECURITY;
CREATE POLICY one_merchant ON erasure_request TO meschain_app
    USING (merchant_id = nullif(current_setting('meschain.merchant_id', true), '')::integer);
CREATE POLICY owner_reads ON erasure_request FOR SELECT TO CURRENT_USER USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON erasure_request TO meschain_app;

-- The beginning of an order that could not be read stood open in its alert. From now on it does not.
DO $$
BEGIN
    -- The owner sees one merchant at a time, too, where it is no superuser.
    ALTER TABLE alert NO FORCE ROW LEVEL SECURITY;
    ALTER TABLE event NO FORCE ROW LEVEL SECURITY;
    DELETE FROM alert WHERE kind = 'alert.order.unreadable' AND subject LIKE '%{%';
    UPDATE event SET facts = facts - 'subject'
     WHERE kind = 'alert.raised' AND facts ->> 'kind' = 'alert.order.unreadable'
       AND facts ->> 'subject' LIKE '%{%';
    ALTER TABLE alert FORCE ROW LEVEL SECURITY;
    ALTER TABLE event FORCE ROW LEVEL SECURITY;
END
$$;
