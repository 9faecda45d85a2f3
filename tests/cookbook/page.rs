//! The recipes of `docs/cookbook.md`.

/// What one person types in one terminal.
pub(crate) struct Block {
    /// Where it is typed: the host in a first line `# on HOST`.
    pub(crate) host: String,
    /// The lines, without that one.
    pub(crate) script: String,
}

/// A section of the page with the blocks in it.
pub(crate) struct Recipe {
    pub(crate) title: String,
    pub(crate) blocks: Vec<Block>,
}

/// The recipes, in the order of the page: sections `### TITLE` with blocks fenced as `sh`.
pub(crate) fn recipes(page: &str) -> Vec<Recipe> {
    let sections = page.split("\n### ").skip(1);
    sections
        .map(|section| {
            let (title, body) = section.split_once('\n').expect("a section has more than its title");
            let fences = body.split("\n```sh\n").skip(1);
            let blocks = fences.map(|rest| block(rest.split("\n```").next().unwrap_or_default())).collect();
            Recipe { title: title.to_owned(), blocks }
        })
        .collect()
}

fn block(text: &str) -> Block {
    match text.strip_prefix("# on ").and_then(|rest| rest.split_once('\n')) {
        Some((host, script)) => Block { host: host.to_owned(), script: script.to_owned() },
        None => Block { host: "localhost".to_owned(), script: text.to_owned() },
    }
}
