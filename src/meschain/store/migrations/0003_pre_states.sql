-- The package state machine, as in domain.order (a test holds the two equal).
INSERT INTO package_state (state, effect) VALUES
    ('held', 'reserve'), ('created', 'reserve'), ('picking', 'reserve'), ('invoiced', 'reserve'),
    ('shipped', 'consume'), ('at_collection_point', 'consume'), ('delivered', 'consume'),
    ('undelivered', 'consume'), ('returned', 'consume'),
    ('cancelled', 'release'), ('unsupplied', 'release'), ('superseded', 'none');

INSERT INTO package_transition (state_before, state_after)
SELECT b, a FROM
    unnest(ARRAY['held', 'created', 'picking', 'invoiced']) WITH ORDINALITY AS before_(b, bo),
    unnest(ARRAY['created', 'picking', 'invoiced', 'shipped', 'at_collection_point', 'delivered',
                 'undelivered', 'returned', 'cancelled', 'unsupplied', 'superseded'])
        WITH ORDINALITY AS after_(a, ao)
 WHERE ao >= bo;
INSERT INTO package_transition (state_before, state_after) VALUES
    ('shipped', 'at_collection_point'), ('shipped', 'delivered'), ('shipped', 'undelivered'),
    ('shipped', 'returned'),
    ('at_collection_point', 'delivered'), ('at_collection_point', 'undelivered'),
    ('at_collection_point', 'returned'),
    ('undelivered', 'delivered'), ('undelivered', 'returned'),
    ('undelivered', 'at_collection_point'),
    ('delivered', 'returned');
