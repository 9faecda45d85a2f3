//! Man pages and shell completions out of the definitions of the arguments: `vox-play --generate man`.
//!
//! Every binary can write its own, so none of them has to know the arguments of the others, and what is installed is
//! always what the binary takes. Packages collect them with `scripts/generate-help`.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::{Command, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::{Exit, Failure};

/// The option that no `--help` lists: packages need it, nobody else.
const OPTION: &str = "--generate";

/// What the examples of `--help` begin with, after anything else that it ends with.
const EXAMPLES: &str = "Examples:\n";

/// What each exit code says, as man pages tell it.
const EXITS: [(Exit, &str); 10] = [
    (Exit::Done, "Ended in good order: the end of the input, a reader that went away, SIGINT or SIGTERM."),
    (Exit::Failed, "Failed while running."),
    (Exit::Usage, "Wrong usage."),
    (Exit::Input, "Bad or truncated input."),
    (Exit::Device, "A sound device."),
    (Exit::Network, "The network: bind, resolve, peer gone, nothing heard before the time-out."),
    (Exit::Condition, "A condition that was asked for does not hold."),
    (Exit::Denied, "Denied by the other side."),
    (Exit::Busy, "The other side is busy."),
    (Exit::NoAnswer, "The other side does not answer."),
];

/// What is to be generated, where the arguments are nothing but `--generate WHAT`.
pub(crate) fn asked(arguments: impl Iterator<Item = OsString>) -> Option<String> {
    let mut arguments = arguments.skip(1);
    match (arguments.next()?.to_str()?, arguments.next(), arguments.next()) {
        (OPTION, Some(what), None) => what.into_string().ok(),
        _ => None,
    }
}

/// The man page (`man`), or the completions for a shell (`bash`, `zsh`, `fish`, …).
///
/// # Errors
/// Where `what` is neither (2).
pub(crate) fn text(mut command: Command, what: &str) -> Result<String, Failure> {
    let mut text = Vec::new();
    let done = match what {
        "man" => man(command, &mut text),
        _ => {
            let shell = Shell::from_str(what, false)
                .map_err(|_| Failure::usage(format_args!("{OPTION} takes man, bash, zsh or fish, not {what}")))?;
            let name = command.get_name().to_owned();
            clap_complete::generate(shell, &mut command, name, &mut text);
            Ok(())
        }
    };
    done.expect("a Vec takes everything");
    let text = String::from_utf8(text).expect("help is UTF-8");
    Ok(if what == "man" { without_repeated(&text, &PREAMBLE) } else { text })
}

/// What the library begins each section with that is rendered by itself: how a page writes an apostrophe.
const PREAMBLE: [&str; 2] = [".ie \\n(.g .ds Aq \\(aq", ".el .ds Aq '"];

/// Keeps only the first of those lines.
fn without_repeated(text: &str, lines: &[&str]) -> String {
    let mut seen = 0;
    text.split_inclusive('\n')
        .filter(|line| {
            let repeated = lines.contains(&line.trim_end());
            seen += usize::from(repeated);
            !repeated || seen <= lines.len()
        })
        .collect()
}

fn man(command: Command, page: &mut Vec<u8>) -> io::Result<()> {
    // The library leaves an empty date out, so that what follows takes its place.
    let (title, version) = (command.get_name().to_uppercase(), command.get_version().unwrap_or_default());
    writeln!(page, ".TH {title} 1 \"\" \"Voxpipe {version}\" \"Voxpipe\"")?;
    let notes = command.get_after_help().map(ToString::to_string);
    let mut built = command.clone();
    built.build();
    let man = Man::new(command);
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    subcommands(&built, page)?;
    if let Some(notes) = notes {
        let (notes, examples) = notes.split_once(EXAMPLES).unwrap_or((&notes, ""));
        as_it_stands("NOTES", notes).to_writer(page)?;
        as_it_stands("EXAMPLES", examples).to_writer(page)?;
    }
    exit_status().to_writer(page)?;
    see_also(built.get_name()).to_writer(page)
}

/// The subcommands and theirs, on the page of the command: nobody looks for pages of their own.
fn subcommands(command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        subcommand(sub, page)?;
        subcommands(sub, page)?;
    }
    Ok(())
}

/// What a subcommand does, and its options.
fn subcommand(sub: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    let name = sub.get_bin_name().unwrap_or_else(|| sub.get_name());
    let mut heading = Roff::new();
    heading.control("SH", [name]);
    heading.text([roman(sub.get_about().map(ToString::to_string).unwrap_or_default())]);
    heading.to_writer(page)?;
    let mut options = Vec::new();
    Man::new(sub.clone()).render_options_section(&mut options)?;
    // The heading of its own is the one above.
    let options = String::from_utf8(options).expect("help is UTF-8");
    page.write_all(options.replacen(".SH OPTIONS\n", "", 1).as_bytes())
}

/// A part of what `--help` ends with, line by line: examples are commands that must not be filled into paragraphs.
fn as_it_stands(heading: &str, notes: &str) -> Roff {
    let mut section = Roff::new();
    if notes.trim().is_empty() {
        return section;
    }
    section.control("SH", [heading]).control("nf", []);
    for line in notes.trim_end().lines() {
        section.text([roman(line)]);
    }
    section.control("fi", []);
    section
}

fn exit_status() -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["EXIT STATUS"]);
    for (exit, meaning) in EXITS {
        section.control("TP", []).text([bold((exit as u8).to_string())]).text([roman(meaning)]);
    }
    section
}

fn see_also(name: &str) -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["SEE ALSO"]);
    let first = if name == "vox" { roman("The stages each have a page of their own. ") } else { bold("vox") };
    let rest = if name == "vox" { "" } else { "(1) lists the stages. " };
    section.text([first, roman(rest), roman("The cookbook and the byte format lie in /usr/share/doc/voxpipe.")]);
    section
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    fn command() -> Command {
        Command::new("vox-test")
            .version("1.2.3")
            .about("Tests what is generated")
            .after_help("A note.\n\nExamples:\n  vox-test --speed 2 | vox-play\n.hidden 'quoted'")
            .arg(Arg::new("speed").long("speed").value_name("FACTOR").help("How fast it goes"))
    }

    fn arguments<'a>(list: &'a [&str]) -> impl Iterator<Item = OsString> + 'a {
        list.iter().map(OsString::from)
    }

    #[test]
    fn only_the_option_and_one_word_ask_for_it() {
        assert_eq!(asked(arguments(&["vox-test", "--generate", "man"])).as_deref(), Some("man"));
        assert_eq!(asked(arguments(&["vox-test", "--generate"])), None);
        assert_eq!(asked(arguments(&["vox-test", "--generate", "man", "more"])), None);
        assert_eq!(asked(arguments(&["vox-test", "man"])), None);
        assert_eq!(asked(arguments(&["vox-test"])), None);
    }

    #[test]
    fn the_page_has_options_examples_and_exit_codes() {
        let page = text(command(), "man").expect("a page");
        for part in [
            ".TH VOX-TEST 1 \"\" \"Voxpipe 1.2.3\"",
            "vox\\-test \\- Tests",
            "\\-\\-speed",
            "How fast",
            ".SH NOTES\n.nf\nA note.\n.fi\n",
            ".SH EXAMPLES\n.nf\n",
        ] {
            assert!(page.contains(part), "{part:?} in:\n{page}");
        }
        assert!(page.contains("does not hold"), "{page}");
        assert!(
            !page.lines().any(|line| line.trim_start().starts_with(".hidden")),
            "text is no command of roff:\n{page}"
        );
    }

    #[test]
    fn shells_complete_the_options() {
        for shell in ["bash", "zsh", "fish"] {
            let script = text(command(), shell).expect("a script");
            assert!(script.contains("speed") && script.contains("vox-test"), "{shell}:\n{script}");
        }
        assert_eq!(text(command(), "tcsh").expect_err("no such shell").exit, Exit::Usage);
    }
}
