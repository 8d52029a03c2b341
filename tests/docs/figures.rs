//! Figures and commands that stand in more than one page.

use super::commands::shown;
use super::markdown::Page;

/// The cells of the row of infra/README.md for 5,000 series every 15 s, in dollars.
fn bill() -> Vec<f64> {
    let guide = Page::read("infra/README.md");
    let row = guide
        .text
        .lines()
        .find(|line| line.starts_with("| 5000 | 15 s | "))
        .unwrap();
    row.split(" | ")
        .skip(3)
        .map(|cell| cell.trim_matches(['*', ' ', '|']).parse().unwrap())
        .collect()
}

#[test]
fn the_cost_on_the_front_page_is_that_of_the_guide() {
    let [
        ingestion,
        storage,
        function,
        s3,
        endpoint,
        cloudwatch,
        sum,
        _,
    ] = bill()[..]
    else {
        panic!("the table has other columns");
    };
    let ours = format!("${:.2}", function + s3 + endpoint + cloudwatch);
    let amp = format!("${:.2}", ingestion + storage);
    assert!((ingestion + storage + function + s3 + endpoint + cloudwatch - sum).abs() < 0.015);
    let front = Page::read("README.md");
    assert!(front.text.matches(&ours).count() == 2, "{ours}");
    assert!(front.text.contains(&amp), "{amp}");
    let dollars = front.text.matches('$').count();
    let commands: usize = front
        .blocks("console")
        .iter()
        .map(|block| block.matches("$ ").count())
        .sum();
    assert_eq!(dollars, commands + 3, "another price stands there");
}

#[test]
fn the_front_page_deploys_as_the_guide_does() {
    let first = |page: &str, wanted: &str| {
        let page = Page::read(page);
        let blocks = page.blocks("console");
        let found = blocks.iter().find(|block| block.contains(wanted));
        shown(found.unwrap())
    };
    let front = first("README.md", "make discover");
    assert_eq!(front.len(), 3);
    assert_eq!(front, first("infra/README.md", "make discover"));
    // docs/commands.md goes on with what is left to do.
    let step = first("README.md", "forwardctl import");
    let longer = first("docs/commands.md", "forwardctl import");
    for command in step {
        assert!(longer.contains(&command), "{command}");
    }
}
