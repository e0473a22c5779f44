-- The orchestrators that share the partitions out among themselves: who is there, for how long without another word, by the database's clock. `ready`: it
-- reaches the broker, without which it can drive nothing.
CREATE TABLE members (
    name        text        COLLATE "C" PRIMARY KEY,
    version     text        NOT NULL,
    ready       boolean     NOT NULL,
    joined_at   timestamptz NOT NULL,
    lease_until timestamptz NOT NULL
);
