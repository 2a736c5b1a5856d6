-- What the merchant asked of packages until it stands on the channel: the outgoing work of the order
-- lane. One row a package; a newer wish replaces the older. It outlives the process that began it.
CREATE TABLE package_wish (
    merchant_id    integer NOT NULL,
    account_id     integer NOT NULL,
    order_id       bigint NOT NULL,
    package_id     text NOT NULL,
    state          text NOT NULL REFERENCES package_state,  -- as package.wanted_state
    invoice_number text NOT NULL DEFAULT '',
    actor          text NOT NULL,
    wish_us        bigint NOT NULL,   -- when it was asked for; names the wish
    phase          smallint NOT NULL, -- 1 to be sent · 2 begun, its end unknown: look before repeating
                                      -- · 3 the marketplace said yes, to be seen there · 4 ended
    next_us        bigint NOT NULL,   -- its next step, not before
    tries          integer NOT NULL DEFAULT 0,           -- requests begun
    looks          integer NOT NULL DEFAULT 0,           -- in vain, since it was last sent
    is_doubtful    boolean NOT NULL DEFAULT false,       -- an earlier request may have arrived
    outcome        jsonb,             -- the last answer, item by item
    PRIMARY KEY (merchant_id, order_id, package_id),
    FOREIGN KEY (merchant_id, order_id, package_id) REFERENCES package ON DELETE CASCADE,
    FOREIGN KEY (merchant_id, account_id) REFERENCES account
) WITH (fillfactor = 70);
CREATE INDEX package_wish_open ON package_wish (merchant_id, account_id, next_us) WHERE phase < 4;

ALTER TABLE package_wish ENABLE ROW LEVEL SECURITY;
ALTER TABLE package_wish FORCE ROW LEVEL SECURITY;
CREATE POLICY one_merchant ON package_wish TO meschain_app
    USING (merchant_id = nullif(current_setting('meschain.merchant_id', true), '')::integer);
CREATE POLICY engine ON package_wish TO meschain_engine USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON package_wish TO meschain_app, meschain_engine;

-- What was asked before there was a lane for it. Nobody knows whether it arrived: look first.
DO $$
BEGIN
    -- The owner sees one merchant at a time, too, where it is no superuser.
    ALTER TABLE package NO FORCE ROW LEVEL SECURITY;
    ALTER TABLE orders NO FORCE ROW LEVEL SECURITY;
    ALTER TABLE package_wish NO FORCE ROW LEVEL SECURITY;
    INSERT INTO package_wish (merchant_id, account_id, order_id, package_id, state, invoice_number,
                              actor, wish_us, phase, next_us, is_doubtful)
    SELECT p.merchant_id, o.account_id, p.order_id, p.external_id, p.wanted_state,
           p.invoice_number, 'migration', 0, 2, 0, true
      FROM package p
      JOIN orders o ON o.merchant_id = p.merchant_id AND o.order_id = p.order_id
     WHERE p.wanted_state IS NOT NULL;
    ALTER TABLE package FORCE ROW LEVEL SECURITY;
    ALTER TABLE orders FORCE ROW LEVEL SECURITY;
    ALTER TABLE package_wish FORCE ROW LEVEL SECURITY;
END
$$;

-- Listings that wait for the marketplace: counted after each round of publishing, and nearly always
-- few among many.
CREATE INDEX listing_awaited ON listing (merchant_id, account_id, listing_id)
    WHERE state IN ('sent', 'pending');
