//! A migration that anybody's store was made with never changes: a store that has it is refused by whoever knows another one. What is to be different is a
//! migration of its own. A new one is added to the list here when it lands.

use std::path::Path;

use baton_messages::audit::audit_hash;

/// Each with the SHA-256 of its text.
const LANDED: [(&str, &str); 27] = [
    (
        "postgres/V1__init.sql",
        "c53933d032a60e438865479585f894ccab7b5c331ca6f3bdff3183b59924801b",
    ),
    (
        "postgres/V2__members.sql",
        "3285cba5114d31629a33564130ed6e6d8674274accfa95e728888bc702285bb5",
    ),
    (
        "postgres/V3__retention.sql",
        "b618b6b86fddf037020db0af19508631fa6a1400a70f05ac9143607204bf153a",
    ),
    (
        "postgres/V4__replay.sql",
        "836c205dcbdc97fae503aa03856a99862de4fb80618b5f7e4cfec108d9287e5e",
    ),
    (
        "postgres/V5__dead_letters.sql",
        "f8a42e291dfba2eb21412c254fad81b9f6651f561e024b534e03248f35d5df6a",
    ),
    (
        "postgres/V6__audit.sql",
        "de7c4023e8040d47ef15e647de72dc41f7a3aa89b842ecf2fc73d22c7aa1ed90",
    ),
    (
        "postgres/V7__outcomes.sql",
        "aae289f71ed3121d6aaa2a7754cb81a4b0d93935a6e001f0e895d8503804a86e",
    ),
    (
        "postgres/V8__tries.sql",
        "522ed4d10b8c2bbdb004b9723eab812550e20bfaf24ae067c3734f40af00726f",
    ),
    (
        "postgres/V9__arrivals.sql",
        "9944b999fe30dbe89f272e0716dffe9fdb11430ea443d49fee70b9a630c63856",
    ),
    (
        "postgres/V10__reservations.sql",
        "c32efb1e017e254d6c02eccb745ee7c755ccc38c24c65186449f8a90c0e4b5f0",
    ),
    (
        "postgres/V11__assigned.sql",
        "d8706de4bce2203728ead842a7cc381702953dd5a2499ca5ee848dc60b231ae6",
    ),
    (
        "postgres/V12__hot_path.sql",
        "52f3d7928e646ae7b475c503bc50deb0667a2ade63942499a1cc18db1e3013d7",
    ),
    (
        "sqlite/0001_init.sql",
        "bfeee2b9d3a46f6a6247351965121fcaa306f4bf3182eb7eeb55ade4bb7279a1",
    ),
    (
        "sqlite/0002_tokens.sql",
        "87472d5a3c28fb1b67275ae65058e291c426924074b12987af39a6dcd8d2bc05",
    ),
    (
        "sqlite/0003_triggers.sql",
        "b8b5223c36a0c2552ac673349c37dd458963322a9c53539d622c89375bde7ce5",
    ),
    (
        "sqlite/0004_subscriptions.sql",
        "86ea9cf248ee5b0fe6cd313c325a700f1ca9a39c216e41e4909280e0a66f6bd1",
    ),
    (
        "sqlite/0005_suspects.sql",
        "6452f5350e0c7ecc66b1a5cb2b613c86d1ff687202ca05330eaf7c08ec28edba",
    ),
    (
        "sqlite/0006_schedules_by_name.sql",
        "091162dc7eb6b66f95fd73804732dacbd29f32376a8f824aea1a2ce95287d617",
    ),
    (
        "sqlite/0007_retention.sql",
        "1930f032e6214c3a7ea98e19bc700d89cb7ec69b8e70f2daa93a24cb78e1b08d",
    ),
    (
        "sqlite/0008_replay.sql",
        "e176f2346de15a1fb573bf2455ae9e0fb686c9a0315d0fe2031b39d2e27043bd",
    ),
    (
        "sqlite/0009_dead_letters.sql",
        "a4b615f8ca7656f7226cd81d4cdc5f7b43953cddc6db4172d38e51f434defd6e",
    ),
    (
        "sqlite/0010_audit.sql",
        "8912982d61fafe1a5768f336205341845155a02783ffa22c56293f3ccb3b4b3b",
    ),
    (
        "sqlite/0011_outcomes.sql",
        "73f8940750f357ccad3de3aa0ae98428e6910273578318c404347696f0525f06",
    ),
    (
        "sqlite/0012_tries.sql",
        "2712311f1ce10fad1b8f3ded60e2979c6438b28b3d39449418cbd7e73334f6ec",
    ),
    (
        "sqlite/0013_arrivals.sql",
        "e8fd8dce3a7141949eb1f3fa481cdf52e2e4eb0d9306de5fe429dee6b4e6a289",
    ),
    (
        "sqlite/0014_reservations.sql",
        "293445dc23fe8c1e32b0e3e19aa2c658e170b370c363376b037f4aa3b300b9b4",
    ),
    (
        "sqlite/0015_assigned.sql",
        "30461cf6926cb10a0da3029c4857351fe0e2d14cdeb858bb69803a4f5bc99f1c",
    ),
];

#[test]
fn a_migration_that_has_landed_never_changes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut known = 0;
    for (name, hash) in LANDED {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(
            audit_hash(&text),
            hash,
            "{name} has changed: leave it as it was and add a migration"
        );
    }
    for kind in ["sqlite", "postgres"] {
        known += std::fs::read_dir(folder.join(kind)).unwrap().count();
    }
    assert_eq!(known, LANDED.len(), "a new migration belongs into the list");
}
