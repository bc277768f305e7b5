//! The house rules hold in this repository.

use xtask::tidy;
use xtask::tree::{self, Tree};

#[test]
fn the_house_rules_hold() {
    let tree = Tree::read(&tree::root().unwrap()).unwrap();
    assert!(tree.rust().count() > 50, "hardly any source was found: the rules looked at the wrong folder");
    let faults = tidy::check(&tree);
    // Warnings are told too; they are shown with `--nocapture`, and by `cargo xtask tidy`.
    println!("{faults}");
    assert_eq!(faults.refused(), 0, "\n{faults}");
}
