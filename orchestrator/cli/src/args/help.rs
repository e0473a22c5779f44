//! What `baton --help` teaches: commands in groups, in the order somebody meets them, with examples.

use clap::{Command, CommandFactory as _};

use super::Cli;

/// Every command, by what it is for.
pub(crate) const GROUPS: [(&str, &[&str]); 5] = [
    ("Start things", &["run", "event", "schedules"]),
    (
        "Watch",
        &[
            "alerts", "ls", "show", "watch", "top", "workers", "cluster", "locks",
        ],
    ),
    (
        "Decide",
        &[
            "work",
            "approve",
            "reject",
            "retry",
            "edit",
            "skip",
            "resolve",
            "acknowledge",
            "admit",
            "cancel",
            "pause",
            "resume",
            "abandon",
        ],
    ),
    (
        "Author",
        &[
            "check",
            "explain",
            "plan",
            "sweep",
            "apply",
            "upgrade",
            "definitions",
            "tasks",
        ],
    ),
    (
        "Administer",
        &["token", "dead", "audit", "topology", "completions", "man"],
    ),
];

const EXAMPLES: [(&str, &str); 7] = [
    ("baton check page.yaml", "is it right?"),
    ("baton apply page.yaml", "register it"),
    ("baton run test.echo@1 -f value=42 --wait", "start, follow"),
    ("baton ls --status parked", "what is stuck"),
    ("baton show 3f1c8a02", "one saga"),
    ("baton work", "what to decide"),
    ("baton tasks show file.write@1", "its manual"),
];

const EXIT_CODES: [&str; 6] = [
    "0 done, completed    1 error     2 usage",
    "3 compensated        4 parked    5 abandoned",
    "6 not ended in time  7 a sweep found the promise broken",
    "8 some sagas stay on the version they run",
    "9 a swept saga does not complete undisturbed",
    "130 interrupted; the saga goes on",
];

pub(super) const RUN: &str = "\
Examples:
  baton run publish-page -f area=news -f text=Hello --wait
  baton run publish-page@2 --input @input.json --key order-4711
  baton run file.write@1 -f path=/srv/www/a.html -f content=Hi --wait
  baton run insert-line-in-one --each repositories.jsonl --wait

--each: every line is checked before anything starts; the sagas have a label \
each=ID in common, which baton ls, approve and reject take. The same file again \
starts nothing twice; another --key starts it anew.

Ctrl-C while waiting detaches (exit code 130): the saga goes on.

Exit codes with --wait: 0 completed, 3 compensated, 4 parked, 5 abandoned, \
6 not ended in time; of many sagas the worst: abandoned, parked, not ended, \
compensated, completed.";

pub(super) const EVENT: &str = "\
Examples:
  baton event publish com.example.paid -f order=4711 --source /shop
  baton event publish com.example.paid --data @paid.json --id 4711
  baton event ls --type com.example.paid
  baton event show 4711";

pub(super) const WORK: &str = "\
Examples:
  baton work                  what waits, oldest first
  baton work show 3f1c8a02    what it is about, what was tried, and the commands that decide it
  baton work --mine           what is yours; --overdue what should have been done
  baton work --all            also what is closed, and by whom
  baton work take 3f1c8a02    it is yours now, and escalated no further
  baton work assign 3f1c8a02 --to network-team --due 2h -m 'it is a switch'";

pub(super) const LS: &str = "\
Examples:
  baton ls --status parked
  baton ls --definition release --label site=vienna --since 2h
  baton ls --watch
  baton ls --json | jq -r '.sagas[].id'";

pub(super) const SHOW: &str = "\
Examples:
  baton show 3f1c8a02              a prefix of the id will do
  baton show 3f1c8a02 --attempts   every attempt, and how far it came
  baton show 3f1c8a02 --records    what happened, as it is kept
  baton show 3f1c8a02 --wait       until it has ended or is parked";

pub(super) const WATCH: &str = "\
Examples:
  baton watch 3f1c8a02
  baton watch --all --definition release
  baton watch --all --json         one line for each change

Exit codes of one saga: 0 completed, 3 compensated, 5 abandoned, 130 interrupted (the saga goes on).";

pub(super) const DEAD: &str = "\
Examples:
  baton dead                                 what nobody could use, newest first
  baton dead --reason undecodable --since 2h
  baton dead --text host-7                   in the error or the body
  baton dead show 7c2e                       one in full; the beginning of its id will do
  baton dead show 7c2e --raw | jq .          its body, byte for byte
  baton dead groups                          what they died of, largest first
  baton dead replay 7c2e                     back to work; says what came of it
  baton dead replay 7c2e 1f0e a0b1 -m why    these; one by one at first
  baton dead replay --group 1f0e9a77c2d4 --dry-run
  baton dead replay --group 1f0e9a77c2d4 -m 'parser is mended' --rate 20
  baton dead replay --queue orders.dlq --redirect orders/new=orders/v2 -m 'moved'
  baton dead replay --reason undecodable --since 2h -m 'parser is mended'
  baton dead ops                             replays of many, and how far they are
  baton dead ops show 019b3c                 one: what it takes, how far it is
  baton dead edit 7c2e --set /amount=12 -m 'a typing error' --replay
  baton dead export --group 1f0e9a77c2d4 -o letters.jsonl
  baton dead discard 7c2e -m 'sent by hand'  not wanted; restore takes it back
  baton dead discard --queue old.dlq -m 'of a test' --dry-run

More than one are asked about first. Where nobody can be asked (no terminal, or
--json) nothing is done without -y.

Exit codes of a replay: 0 done, 1 failed, refused or stopped, 6 not known in time, 130 interrupted (it goes on).

Where no orchestrator runs, at the broker itself:
  export BATON_AMQP=amqp://admin:secret@127.0.0.1:5672/%2f
  baton dead peek orders.dlq                 what lies there, and stays there
  baton dead move orders.dlq orders/         back to its exchange, each under its own key";

pub(super) const PEEK: &str = "\
The broker's address stands in BATON_AMQP or --amqp: amqp://admin:secret@127.0.0.1:5672/%2f

The broker counts each look as a delivery, and a quorum queue with a delivery
limit drops or dead-letters what was delivered oftener than that (RabbitMQ 4: 20
times, where nothing else is set). So look once; how often each was delivered
stands with it.

Where an orchestrator can be asked, the look is written into its audit log before
anything is shown, which wants the role operator. What looks like a secret is
covered; --raw shows it, and that it was shown stands in the log.";

pub(super) const MOVE: &str = "\
The broker's address stands in BATON_AMQP or --amqp: amqp://admin:secret@127.0.0.1:5672/%2f

A time to live and the login of the sender are not carried on; each message says
how often it was delivered before.";

pub(super) const ALERTS: &str = "\
Examples:
  baton alerts                               what needs somebody now
  baton alerts show 7c2e                     one in full; the beginning of its id will do
  baton alerts ack 7c2e -m 'on it'           seen: it is not repeated
  baton alerts mute 7c2e --for 2h -m 'the lab is being moved'
  baton alerts --state all                   also what is over";

pub(super) const LOCKS: &str = "\
Examples:
  baton locks                                who has what, and who waits
  baton locks --kind concurrency             the limits of what runs at once
  baton locks show host/10.0.0.7             one lock: its holder, then the line
  baton locks break host/10.0.0.7 --saga 3f1c8a02 -m 'it hangs, the host is dead'
  baton admit 3f1c8a02 -m 'on purpose'       past a blast radius

Only an admin breaks a lock: two may act on the same thing from then on.";

pub(super) const AUDIT: &str = "\
Examples:
  baton audit                                actions, newest first
  baton audit --object sagas/0197f1c2-… --since 3d
  baton audit --who ci --action cancelSaga
  baton audit --phase asked                  of which nobody knows what came
  baton audit verify --head /mnt/worm/heads  whole, and nothing cut off?
  baton audit head >> heads                  how far it is, to keep elsewhere
  baton audit export -o audit.jsonl          every row, as it is kept";

pub(super) const TOPOLOGY: &str = "\
Examples:
  export BATON_MANAGEMENT=http://admin:secret@127.0.0.1:15672
  baton topology show                        exchanges, queues, policies, who may what
  baton topology check                       what differs at the broker, and what mends it
  baton topology apply --user orchestrator=baton --user worker=baton-worker
  baton topology apply --partitions 8 --pool default --pool lab
  baton topology show --definitions > f.json for rabbitmqctl import_definitions";

pub(super) const APPROVE: &str = "\
Examples:
  baton work                                 what waits, for whom
  baton approve 3f1c8a02 -m 'looked at it'
  baton approve 3f1c8a02 release             where several steps wait
  baton approve --label each=8c1f02ab77de    all that were started together";

pub(super) const RETRY: &str = "\
Example:
  baton retry 3f1c8a02 restart -m 'the disk is free again'

What you saw is sent along: a step that has moved since refuses.";

pub(super) const EDIT: &str = "\
Examples:
  baton edit 3f1c8a02 isolate --set vlan=667 -m 'this site has another one'
  baton edit 3f1c8a02 page --task http.request@1 --input @page.json -m 'no pager'

What differs is shown first. Only a step that changed nothing is edited: what it
did with the input it had would be left to nobody. A parked undo is edited where
a task of its own undoes it; with --task another task undoes it.";

pub(super) const RESOLVE: &str = "\
Examples:
  baton resolve 3f1c8a02 restart --as done -m 'restarted by hand' --output '{\"pid\": 7}'
  baton resolve 3f1c8a02 page --as undone -m 'put back from the backup'

What you did by hand you are asked to undo by hand, should the saga turn back:
no worker knows what it was. --output is what later steps read; it is refused
where one of them could not.";

pub(super) const CANCEL: &str = "\
Example:
  baton cancel 3f1c8a02 -m 'wrong site'

What was done is undone, newest first. After the pivot a person decides instead: see baton work.";

pub(super) const CHECK: &str = "\
Examples:
  baton check *.yaml
  baton check page.yaml --online             against the workers that are there
  baton tasks --json > types.json && baton check page.yaml --catalogue types.json
  baton check page.yaml --types              every expression with its type
  baton explain BT0024                       what a code means

Exit code 1 when anything is wrong. --json: one document, [{ file, ok, diagnostics }].";

pub(super) const EXPLAIN: &str = "\
Examples:
  baton explain                              every code in a line
  baton explain BT0012                       one, with an example of the mistake and of its mend";

pub(super) const PLAN: &str = "\
Examples:
  baton plan release.yaml
  baton plan release.yaml --input @input.json     with what this input decides
  baton plan release.yaml --mermaid > release.mmd
  baton plan release.yaml --json | jq '.steps[] | {id, fails}'

Offline, like baton check: nothing is registered and nothing runs.";

pub(super) const SWEEP: &str = "\
Examples:
  baton sweep release.yaml                        the matrix
  baton sweep *.yaml --plays 20                   each cell twenty times
  baton sweep release.yaml --input @input.json
  baton sweep release.yaml --returns '{\"check\": {\"tests\": 12}}'
  baton sweep release.yaml --step canary_switch --fail-on parked
  baton sweep move.yaml restore.yaml              a saga and the one that is a step of it
  baton sweep sagas/                              every *.yaml of a folder
  baton sweep move.yaml --beside restore.yaml --step restore/put_back
  baton sweep release.yaml --seed 1214001 --trace one play, with all that happens

Offline, like baton check: nothing is registered, no worker runs. The saga is \
played in simulated time, on the orchestrator's own engine, by simulated workers: \
every step, its undo and its probe, with every trouble there is. What really \
happened to the world is the judge. The first play of a cell is quiet; in the \
others messages are doubled and reordered as well.

What a saga is started with and what its tasks return is made from their schemas. \
Better values come from --input, --returns and --events, or from cases/NAME.yaml \
beside the file: the input of its first case, and what stands under `sweep:`.

A step that is a saga is played with that saga: its file is given too, or beside. \
Its steps are rows of their own, named by the way there (restore/put_back), and \
each is also undone because a saga above it turns back (\"undo above\"). At most \
2000 cells of such steps are played; what was left out is said.

Exit codes: 0 all as promised, 1 a definition is wrong, 4 parked where --fail-on \
forbids it, 6 --within was over first, 7 the promise is broken, 9 it does not \
complete although nothing befalls it, and nothing says that it is meant so: --ends, \
or `sweep: { ends: compensated }` in its cases.";

pub(super) const APPLY: &str = "\
Example:
  baton apply page.yaml

A registered version never changes: change `version:` together with the content. \
Sagas that run go on under their version; baton upgrade moves those that can.";

pub(super) const UPGRADE: &str = "\
Examples:
  baton upgrade release --to 4 --dry-run
  baton upgrade release --to 4 --why 'the page is told too'
  baton upgrade release --to 4 --from 2 --dry-run --json
  baton upgrade release --to 4 --saga 3f1c8a02 -m 'only this one'

A saga is moved where all that has happened to it could have happened under the \
other version, and what it did is still undone in its order. What has begun stays \
as it is; what has not follows the other version. Decided for each at the moment it \
is moved, whatever a dry run said.

Exit codes: 0 all moved, or could be, 1 an error, or nobody answered for some, \
8 some stay on their version.";

pub(super) const TASKS: &str = "\
Examples:
  baton tasks
  baton tasks show file.write@1
  baton tasks show http.request --offline";

pub(super) const TOKEN: &str = "\
Examples:
  baton token create anna --role operator --expires 90d
  baton token whoami
  baton token revoke anna";

pub(super) const COMPLETIONS: &str = "\
Examples:
  baton completions bash > ~/.local/share/bash-completion/completions/baton
  baton completions zsh > ~/.zfunc/_baton
  baton completions fish > ~/.config/fish/completions/baton.fish";

/// The command line with its groups.
pub(crate) fn command() -> Command {
    let command = with_plain_usage(grouped());
    command.override_usage("baton [OPTIONS] COMMAND")
}

/// The usage of every command stands as its help has it: clap's own, of somebody who has mistyped, calls required what the environment says already.
fn with_plain_usage(mut command: Command) -> Command {
    command.build();
    let names: Vec<String> = command
        .get_subcommands()
        .map(|one| one.get_name().to_owned())
        .filter(|name| name != "help")
        .collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |mut one| {
            let usage = one.render_usage().to_string();
            let usage = usage.trim_start_matches("Usage: ").to_owned();
            with_plain_usage(one).override_usage(usage)
        })
    })
}

fn grouped() -> Command {
    let command = Cli::command();
    let mut text = String::from("{about-with-newline}\n{usage-heading} {usage}\n");
    for (title, names) in GROUPS {
        text.push_str(&heading(title));
        for name in names {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!(
                "  {}{:blank$}{about}\n",
                bold(name),
                "",
                blank = 13 - name.len()
            ));
        }
    }
    text.push_str(&heading("Examples"));
    for (line, says) in EXAMPLES {
        text.push_str(&format!("  {line:<42}{says}\n"));
    }
    text.push_str(&heading("Exit codes"));
    for line in EXIT_CODES {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(&heading("Everywhere"));
    text.push_str("{options}{after-help}");
    // the groups stand instead of the one flat list
    let hidden: Vec<String> = command
        .get_subcommands()
        .map(|one| one.get_name().to_owned())
        .collect();
    let command = hidden.iter().fold(command, |command, name| {
        command.mut_subcommand(name, |one| one.hide(true))
    });
    command
        .help_template(text)
        .after_help("baton COMMAND --help tells more. Environment: BATON_URL, BATON_TOKEN, BATON_TOKEN_FILE, BATON_BY, NO_COLOR, COLUMNS.")
}

fn heading(title: &str) -> String {
    format!("\n\u{1b}[1;4m{title}:\u{1b}[0m\n")
}

fn bold(name: &str) -> String {
    format!("\u{1b}[1m{name}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_stands_in_one_group() {
        let command = Cli::command();
        let mut known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        let mut grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        known.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(known, grouped);
    }

    /// Also where the environment says where the orchestrator is, a mistake is answered with what the help says.
    #[test]
    fn no_usage_asks_for_what_need_not_be_given() {
        let command = command();
        for typed in [
            &["baton", "run", "--wait"][..],
            &["baton", "--url", "http://a", "approve"],
            &["baton", "--url", "http://a", "token", "create"],
            &["baton", "--token", "t", "show", "a", "--timeout", "5"],
        ] {
            let error = command.clone().try_get_matches_from(typed).unwrap_err();
            let text = error.to_string();
            let usage = text.lines().find(|line| line.starts_with("Usage:"));
            let usage = usage.unwrap_or_else(|| panic!("no usage: {text}"));
            assert!(
                usage.contains("[OPTIONS]") && !usage.contains("--url"),
                "{usage}"
            );
        }
    }

    /// Nothing is broken by hand: clap breaks it, at whatever width.
    #[test]
    fn no_help_is_ragged_at_80_columns() {
        let mut command = command().term_width(80);
        for name in GROUPS.iter().flat_map(|(_, names)| names.iter()) {
            let help = command.find_subcommand_mut(name).unwrap();
            let text = help.clone().term_width(80).render_long_help().to_string();
            let lines: Vec<&str> = text.lines().collect();
            for (line, next) in lines.iter().zip(&lines[1..]) {
                let short =
                    line.chars().count() < 40 && line.ends_with(|c: char| c.is_alphanumeric());
                let goes_on = next.starts_with(|c: char| c.is_ascii_lowercase());
                assert!(!(short && goes_on), "{name}: ragged at `{line}`:\n{text}");
                assert!(line.chars().count() <= 80, "{name}: too wide: {line}");
            }
        }
    }

    /// What is set by hand is not broken by clap: it has to fit by itself, and what it says has to stand apart.
    #[test]
    fn the_first_screen_fits_every_terminal() {
        for width in [60, 80, 160] {
            let text = command().term_width(width).render_long_help().to_string();
            for line in text.lines() {
                assert!(
                    line.chars().count() <= width,
                    "too wide for {width}: {line}"
                );
            }
            for (typed, says) in EXAMPLES {
                let line = text
                    .lines()
                    .find(|line| line.trim_start().starts_with(typed));
                let line = line.unwrap_or_else(|| panic!("no `{typed}`:\n{text}"));
                assert!(line.ends_with(&format!("  {says}")), "no gap: {line}");
            }
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }
}
