//! Completions of `vox STAGE …`: the stages here, their arguments by what each stage says of itself.

use std::ffi::OsString;

use crate::stages::STAGES;

/// What completes `vox` in a shell, where the arguments are nothing but `--generate SHELL`.
pub(crate) fn asked(mut arguments: impl Iterator<Item = OsString>) -> Option<String> {
    let (option, shell) = (arguments.nth(1)?, arguments.next()?);
    if option != "--generate" || arguments.next().is_some() {
        return None;
    }
    match shell.to_str()? {
        "bash" => Some(bash()),
        "zsh" => Some(zsh()),
        "fish" => Some(fish()),
        _ => None,
    }
}

fn bash() -> String {
    let names: Vec<&str> = STAGES.iter().map(|(name, _)| *name).collect();
    BASH.replace("@STAGES@", &names.join(" "))
}

/// What a stage completes is asked of itself once a shell.
const BASH: &str = r#"_vox() {
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "@STAGES@ --help --version" -- "$2"))
        return 0
    fi
    local stage="vox-${COMP_WORDS[1]#vox-}"
    case $stage in *[!a-z0-9-]*) return 0 ;; esac
    complete -p "$stage" >/dev/null 2>&1 || eval "$("$stage" --generate bash 2>/dev/null)"
    local how
    how=$(complete -p "$stage" 2>/dev/null) || return 0
    how=${how##*-F }
    local line=("$stage" "${COMP_WORDS[@]:2}")
    local COMP_WORDS=("${line[@]}") COMP_CWORD=$((COMP_CWORD - 1))
    "${how%% *}" "$stage" "$2" "$3"
}
complete -F _vox -o bashdefault -o default vox
"#;

fn zsh() -> String {
    let entry = |(name, line): &(&str, &str)| {
        let line = line.replace('\'', "'\\''").replace(':', "\\:");
        format!("            '{name}:{line}'\n")
    };
    ZSH.replace("@STAGES@", &STAGES.iter().map(entry).collect::<String>())
}

const ZSH: &str = r#"#compdef vox
_vox() {
    if (( CURRENT == 2 )); then
        local -a stages=(
@STAGES@        )
        _describe stage stages
        return
    fi
    words=("vox-${words[2]#vox-}" "${(@)words[3,-1]}")
    (( CURRENT-- ))
    _normal
}
if [ "$funcstack[1]" = "_vox" ]; then
    _vox "$@"
else
    compdef _vox vox
fi
"#;

fn fish() -> String {
    let entry = |(name, line): &(&str, &str)| {
        let line = line.replace('\\', "\\\\").replace('\'', "\\'");
        format!("complete -c vox -f -n __fish_use_subcommand -a {name} -d '{line}'\n")
    };
    FISH.to_owned() + &STAGES.iter().map(entry).collect::<String>()
}

const FISH: &str = r#"function __vox_stage
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l line "vox-"(string replace -r '^vox-' '' -- $words[2]) (string escape -- $words[3..-1])
    complete -C "$line $current"
end
complete -c vox -n 'not __fish_use_subcommand' -a '(__vox_stage)'
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> Option<String> {
        asked(words.iter().map(OsString::from))
    }

    #[test]
    fn every_stage_is_completed_in_every_shell() {
        for shell in ["bash", "zsh", "fish"] {
            let script = given(&["vox", "--generate", shell]).unwrap();
            assert!(STAGES.iter().all(|(name, _)| script.contains(name)), "{script}");
            assert!(!script.contains("@STAGES@"));
        }
        assert_eq!(given(&["vox", "--generate", "man"]), None);
        assert_eq!(given(&["vox", "jitter", "--generate", "bash"]), None);
        assert_eq!(given(&["vox"]), None);
    }
}
