//! The cases, one test each.

mod cases;

#[test]
fn integer_products_are_exact() {
    assert!(cases::integer_products_are_exact() > 0);
}

#[test]
fn products_are_those_of_the_blocks() {
    assert!(cases::products_are_those_of_the_blocks() > 0);
}

#[test]
fn activations_are_off_by_half_a_level() {
    assert!(cases::activations_are_off_by_half_a_level() > 0);
}

#[test]
fn attention_is_the_softmax_of_what_a_token_sees() {
    assert!(cases::attention_is_the_softmax_of_what_a_token_sees() > 0);
}

#[test]
fn elements_are_those_of_the_formulas() {
    assert!(cases::elements_are_those_of_the_formulas() > 0);
}
