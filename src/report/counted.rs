//! Numbers of things in sentences.

/// A number of things with its verb, which is the first one for a single thing.
///
/// ```
/// use amp_forwarder::report::counted;
///
/// assert_eq!(counted(1, "sample", ["is", "are"]), "1 sample is");
/// assert_eq!(counted(7, "sample", ["is", "are"]), "7 samples are");
/// ```
#[must_use]
pub fn counted(number: u64, one: &str, verbs: [&str; 2]) -> String {
    let [of_one, of_many] = verbs;
    if number == 1 {
        format!("1 {one} {of_one}")
    } else {
        format!("{number} {one}s {of_many}")
    }
}
