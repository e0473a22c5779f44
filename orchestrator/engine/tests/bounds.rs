//! The page about the language tells the bounds of a document and of what looks at it: each row is the constant that holds it, and each bound has a row.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

const PAGE: &str = include_str!("../../sagas/LANGUAGE.md");
const DEFINITION_MOD: &str = include_str!("../src/definition/mod.rs");
const DEFINITION_YAML: &str = include_str!("../src/definition/yaml.rs");
const DEFINITION_TRIGGER: &str = include_str!("../src/definition/trigger.rs");
const DEFINITION_RESERVES: &str = include_str!("../src/definition/reserves.rs");
const DEFINITION_ITEM_RULES: &str = include_str!("../src/definition/item_rules.rs");
const CHILD: &str = include_str!("../src/child.rs");
const FAN: &str = include_str!("../src/fan.rs");
const EXPR_MOD: &str = include_str!("../src/expr/mod.rs");
const EXPR_COMPILE: &str = include_str!("../src/expr/compile.rs");
const EXPR_MACHINE: &str = include_str!("../src/expr/machine.rs");
const DEFINITION_FLOW_APPLICATIONS: &str = include_str!("../src/definition/flow/applications.rs");
const TYPES_SCHEMA: &str = include_str!("../src/types/schema.rs");
const DEFINITION_FLOW_MOD: &str = include_str!("../src/definition/flow/mod.rs");
const HOSTILE: &str = include_str!("hostile.rs");

/// The value of a constant, of its text: a number, or several that are multiplied.
fn value(source: &str, name: &str) -> u64 {
    let (_, rest) = source.split_once(&format!("const {name}: ")).unwrap();
    let (_, rest) = rest.split_once('=').unwrap();
    let (product, _) = rest.split_once(';').unwrap();
    let numbers = product
        .split('*')
        .map(|number| number.trim().replace('_', ""));
    numbers
        .map(|number| number.parse::<u64>().unwrap())
        .product()
}

/// A bound as people read it: `1,000`, `384 KiB`.
fn read(cell: &str) -> u64 {
    let mut words = cell.split_whitespace();
    let number: u64 = words.next().unwrap().replace(',', "").parse().unwrap();
    number
        * match words.next() {
            Some("KiB") => 1024,
            Some("MiB") => 1024 * 1024,
            Some("s") | None => 1,
            Some(unit) => panic!("{unit} is no unit"),
        }
}

#[test]
fn every_bound_on_the_page_is_the_one_that_holds() {
    let constants = [
        (DEFINITION_MOD, "DEFINITION_BYTES_MAX"),
        (DEFINITION_YAML, "NODES_MAX"),
        (DEFINITION_YAML, "TEXT_BYTES_MAX"),
        (DEFINITION_YAML, "DEPTH_MAX"),
        (DEFINITION_MOD, "STEPS_MAX"),
        (DEFINITION_MOD, "LABELS_MAX"),
        (DEFINITION_TRIGGER, "TRIGGERS_MAX"),
        (DEFINITION_RESERVES, "LOCKS_MAX"),
        (DEFINITION_ITEM_RULES, "ESCALATIONS_MAX"),
        (CHILD, "DEPTH_MAX"),
        (FAN, "ITEMS_MAX"),
        (FAN, "PARALLEL_MAX"),
        (FAN, "COLLECTED_BYTES_MAX"),
        (EXPR_MOD, "EXPRESSION_BYTES_MAX"),
        (EXPR_COMPILE, "HOLES_MAX"),
        (EXPR_MACHINE, "DEPTH_MAX"),
        (EXPR_MACHINE, "BUDGET"),
        (EXPR_MOD, "RESULT_BYTES_MAX"),
        (DEFINITION_FLOW_APPLICATIONS, "APPLICATIONS_MAX"),
        (TYPES_SCHEMA, "SCHEMAS_MAX"),
        (DEFINITION_FLOW_MOD, "TOLD_MAX"),
        (HOSTILE, "MEMORY_BYTES_MAX"),
        (HOSTILE, "CHECK_SECONDS_MAX"),
    ];
    let (_, section) = PAGE.split_once("\n## Bounds\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .skip(1)
        .collect();
    assert_eq!(rows.len(), constants.len(), "{rows:?}");
    for (row, (source, name)) in rows.iter().zip(constants) {
        assert_eq!(read(row[1]), value(source, name), "{name}: {}", row[0]);
    }
}
