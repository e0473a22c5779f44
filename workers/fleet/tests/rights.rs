//! The rights of what a worker starts, as real programs find them: what they make is readable for whom it is made, they keep none of the
//! worker's capabilities, a sandbox holds, and what is not what it was is not started. Under every way of holding processes together.
#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "a test that cannot go on should end where it stands"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use baton_fleet::automations::{CommandRunInput, CommandRunIrreversible, CommandRunOutput};
use baton_fleet::process::{ContainmentWish, Processes, ProcessesConfig};
use baton_harness::not_tested;
use baton_worker::testing::UnderTest;
use baton_worker::{SecretText, TaskError};
use serde_json::json;
use sha2::Digest as _;

const WORKER: &str = env!("CARGO_BIN_EXE_baton-worker");
const WAYS: [ContainmentWish; 4] = [
    ContainmentWish::Auto,
    ContainmentWish::PidNamespace,
    ContainmentWish::Subreaper,
    ContainmentWish::ProcessGroup,
];

struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        for folder in ["open", "shut", "out"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
            fs::write(dir.path().join(folder).join("a"), folder).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `DIR` in the entries stands for the stage's own folder. None where this host does not offer the way, which is said.
    fn list(
        &self,
        entries: &str,
        way: ContainmentWish,
        launcher: &Path,
    ) -> Option<CommandRunIrreversible> {
        let config = ProcessesConfig {
            work_folder: Some(self.path("runs")),
            containment: way,
            ..ProcessesConfig::default()
        };
        let processes = Processes::launched_by(&config, launcher.to_owned());
        if processes.containment().is_none() {
            not_tested(&format!("{way:?}, which this host does not offer"));
            return None;
        }
        let entries = entries.replace("DIR", self.dir.path().to_str().unwrap());
        let entries = toml::from_str(&entries).unwrap();
        Some(CommandRunIrreversible::allowing(&entries, &processes).unwrap())
    }

    async fn run(&self, entries: &str, command: &str) -> Result<CommandRunOutput, TaskError> {
        let list = self.list(entries, ContainmentWish::Auto, Path::new(WORKER));
        run(&list.unwrap(), command).await
    }
}

async fn run(list: &CommandRunIrreversible, command: &str) -> Result<CommandRunOutput, TaskError> {
    UnderTest::new(list.clone(), input(command)).run().await
}

fn input(command: &str) -> CommandRunInput {
    serde_json::from_value(json!({ "command": command })).unwrap()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn sha256(path: &Path) -> String {
    let hash = sha2::Sha256::digest(fs::read(path).unwrap());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

const MAKES: &str = r#"
[makes]
program = "/bin/sh"
args = ["-c", "mkdir DIR/out/site && echo hello > DIR/out/site/page; stat -c %a \"$HOME\" \"$HOME/key\"; echo mine > \"$HOME/mine\"; exit 3"]
effect = "irreversible"
secrets.key.file = "key"

[closed]
program = "/bin/sh"
args = ["-c", "mkdir DIR/out/closed && echo hello > DIR/out/closed/page"]
effect = "irreversible"
umask = "077"
"#;

#[tokio::test]
async fn what_is_made_for_others_is_readable_for_them_and_secrets_are_not() {
    let stage = Stage::new();
    let list = stage
        .list(MAKES, ContainmentWish::Auto, Path::new(WORKER))
        .unwrap();
    let mut case = UnderTest::new(list.clone(), input("makes"));
    case.input.secrets = [("key".to_owned(), SecretText::text("hunter2hunter2"))].into();
    let error = case.run().await.unwrap_err().to_string();
    // Its own folder and the secret in it are closed whatever the umask is.
    assert!(error.contains("code 3: 700\n600"), "{error}");
    assert_eq!(mode(&stage.path("runs")) & 0o066, 0);
    let page = stage.path("out/site/page");
    assert_eq!((mode(&stage.path("out/site")), mode(&page)), (0o755, 0o644));
    run(&list, "closed").await.unwrap();
    assert_eq!(mode(&stage.path("out/closed")), 0o700);
    if !is_root() {
        return not_tested("that another user reads it; run it as root");
    }
    let read = |path: &Path| {
        let mut cat = Command::new("/usr/bin/setpriv");
        cat.args(["--reuid=65534", "--regid=65534", "--clear-groups", "cat"]);
        cat.arg(path).output().unwrap().stdout
    };
    assert_eq!(read(&page), b"hello\n");
    assert_eq!(read(&stage.path("out/closed/page")), b"");
}

const RIGHTS: &str = r#"
[plain]
program = "/usr/bin/grep"
args = ["-E", "^(Cap|NoNew)", "/proc/self/status"]
effect = "none"

[keeps]
program = "/usr/bin/grep"
args = ["-E", "^(Cap|NoNew)", "/proc/self/status"]
effect = "none"
capabilities = ["chown", "CAP_DAC_READ_SEARCH"]

[keeps-as-other]
program = "/usr/bin/grep"
args = ["-E", "^(Cap|NoNew)", "/proc/self/status"]
effect = "none"
user = "61999:61999"
capabilities = ["chown", "dac_read_search"]

[gains]
program = "/usr/bin/grep"
args = ["-E", "^(Cap|NoNew)", "/proc/self/status"]
effect = "none"
may_gain_privileges = true

[reads]
program = "/bin/cat"
args = ["DIR/theirs/a"]
effect = "none"

[reads-all]
program = "/bin/cat"
args = ["DIR/theirs/a"]
effect = "none"
capabilities = ["dac_read_search"]
"#;

/// The five sets, and whether more may be gained, as the program itself found them.
fn sets(output: &CommandRunOutput) -> (Vec<u64>, bool) {
    let words = output
        .stdout
        .lines()
        .map(|line| line.split_once(":\t").unwrap());
    let all: Vec<(&str, &str)> = words.collect();
    let caps = all.iter().filter(|(name, _)| name.starts_with("Cap"));
    let caps = caps.map(|(_, value)| u64::from_str_radix(value, 16).unwrap());
    (caps.collect(), all.contains(&("NoNewPrivs", "0")))
}

#[tokio::test]
async fn no_capability_of_the_worker_is_handed_on_but_those_an_entry_names() {
    if !is_root() {
        return not_tested("what a worker that is root hands on; run it as root");
    }
    let stage = Stage::new();
    let theirs = stage.path("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("a"), "precious").unwrap();
    for path in [theirs.join("a"), theirs.clone()] {
        chown(&path, Some(61_998), Some(61_998)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    // Permitted, effective, bounding: chown is 0, dac_read_search is 2.
    const KEPT: u64 = 0b101;
    for way in WAYS {
        let Some(list) = stage.list(RIGHTS, way, Path::new(WORKER)) else {
            continue;
        };
        let of = async |name: &str| sets(&run(&list, name).await.unwrap());
        assert_eq!(of("plain").await, (vec![0; 5], false), "{way:?}");
        assert_eq!(of("keeps").await, (vec![KEPT; 5], false), "{way:?}");
        assert_eq!(
            of("keeps-as-other").await,
            (vec![KEPT; 5], false),
            "{way:?}"
        );
        assert!(of("gains").await.1, "{way:?}");
        let error = run(&list, "reads").await.unwrap_err();
        assert!(error.to_string().contains("Permission denied"), "{error}");
        assert_eq!(run(&list, "reads-all").await.unwrap().stdout, "precious");
    }
}

/// What is tried prints a word for each thing that succeeded.
const SANDBOX: &str = r#"
[boxed]
program = "/usr/bin/python3"
args = ["-I", "-B", "DIR/tries.py", "DIR"]
effect = "none"
sandbox.landlock = { read = ["DIR/open", "DIR/tries.py"], write = ["DIR/out"], tcp_connect = [PORT] }

[free]
program = "/usr/bin/python3"
args = ["-I", "-B", "DIR/tries.py", "DIR"]
effect = "none"

[lost]
program = "/bin/sh"
args = ["-c", "touch DIR/out/lost"]
effect = "none"
sandbox.landlock.write = ["DIR/out", "DIR/nowhere"]
"#;
const TRIES: &str = r"
import os, socket, sys
at = sys.argv[1]
def tries(word, what):
    try:
        what()
        print(word)
    except OSError as error:
        pass
def connects(port):
    socket.create_connection(('127.0.0.1', port), 5).close()
def listens():
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
tries('reads-open', lambda: open(at + '/open/a').read())
tries('reads-shut', lambda: open(at + '/shut/a').read())
tries('lists-shut', lambda: os.listdir(at + '/shut'))
tries('writes-out', lambda: open(at + '/out/made', 'w').close())
tries('writes-open', lambda: open(at + '/open/made', 'w').close())
tries('writes-own', lambda: open(os.environ['HOME'] + '/made', 'w').close())
tries('connects', lambda: connects(PORT))
tries('connects-elsewhere', lambda: connects(ELSEWHERE))
tries('listens', listens)
tries('signals', lambda: os.kill(PID, 0))
";

#[tokio::test]
async fn a_sandbox_holds_and_reaches_what_it_is_told_to() {
    let stage = Stage::new();
    let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [port, elsewhere] = listeners
        .each_ref()
        .map(|one| one.local_addr().unwrap().port().to_string());
    let tries = TRIES
        .replace("PORT", &port)
        .replace("ELSEWHERE", &elsewhere)
        .replace("PID", &std::process::id().to_string());
    fs::write(stage.path("tries.py"), tries).unwrap();
    let entries = SANDBOX.replace("PORT", &port);
    for way in WAYS {
        let Some(list) = stage.list(&entries, way, Path::new(WORKER)) else {
            continue;
        };
        let free = run(&list, "free").await.unwrap().stdout;
        let all = "reads-open reads-shut lists-shut writes-out writes-open writes-own connects connects-elsewhere listens";
        let missing: Vec<&str> = all.split(' ').filter(|word| !free.contains(word)).collect();
        assert!(missing.is_empty(), "{way:?}: {missing:?}");
        let boxed = run(&list, "boxed").await.unwrap().stdout;
        assert_eq!(
            boxed, "reads-open\nwrites-out\nwrites-own\nconnects\n",
            "{way:?}"
        );
        // A path that is not there is no smaller sandbox: nothing is started.
        let error = run(&list, "lost").await.unwrap_err();
        assert_eq!(error.code(), "not-started");
        assert!(
            error
                .to_string()
                .contains("DIR/nowhere".trim_start_matches("DIR")),
            "{error}"
        );
        assert!(!stage.path("out/lost").exists());
    }
    // It is the worker's to say, and a message's never.
    for key in ["sandbox", "user", "program", "env", "capabilities", "umask"] {
        let asked = json!({ "command": "boxed", key: "none" });
        let refused = serde_json::from_value::<CommandRunInput>(asked);
        assert!(refused.unwrap_err().to_string().contains(key));
    }
}

/// Takes landlock from whatever it becomes, as a kernel without it would.
const WITHOUT: &str = r"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None)
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x50000 | 38), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *one) for one in code))
class Filter(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('code', ctypes.c_void_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Filter(4, ctypes.addressof(code))), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
";

#[tokio::test]
async fn where_the_kernel_has_no_sandbox_nothing_that_asks_for_one_is_started() {
    let stage = Stage::new();
    fs::write(stage.path("without.py"), WITHOUT).unwrap();
    let entries = r#"
[touches]
program = "/usr/bin/touch"
args = ["DIR/out/touched"]
effect = "none"
SANDBOX
"#;
    let boxed = entries.replace("SANDBOX", "sandbox.landlock.write = [\"DIR/out\"]");
    let wrapper = stage.path("launcher");
    let text = format!(
        "#!/bin/sh\nexec /usr/bin/python3 {} {WORKER} \"$@\"\n",
        stage.path("without.py").display()
    );
    fs::write(&wrapper, text).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let list = stage.list(&boxed, ContainmentWish::Auto, &wrapper).unwrap();
    let error = run(&list, "touches").await.unwrap_err();
    assert_eq!(error.code(), "not-started");
    assert!(error.to_string().contains("no landlock"), "{error}");
    assert!(!stage.path("out/touched").exists());
    // The same launcher starts what asks for none.
    let plain = entries.replace("SANDBOX", "");
    let list = stage.list(&plain, ContainmentWish::Auto, &wrapper).unwrap();
    run(&list, "touches").await.unwrap();
    assert!(stage.path("out/touched").exists());

    // And a worker that cannot keep its word does not begin.
    let config = stage.path("worker.toml");
    let text = boxed.replace("[touches]", "[commands.touches]");
    let text = text.replace("DIR", stage.dir.path().to_str().unwrap());
    fs::write(&config, text).unwrap();
    let ran = Command::new(&wrapper)
        .args(["--http", "off", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(!ran.status.success());
    assert!(
        said.contains("[commands.touches]") && said.contains("no landlock"),
        "{said}"
    );
    // What is root says so, before anything else.
    assert_eq!(said.contains("runs as ROOT"), is_root(), "{said}");
}

#[tokio::test]
async fn a_program_that_is_not_what_it_was_is_not_started() {
    let stage = Stage::new();
    fs::copy("/bin/busybox", stage.path("touch")).unwrap();
    let script = |text: &str| {
        fs::write(stage.path("tool"), text).unwrap();
        fs::set_permissions(stage.path("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("#!/bin/sh\necho \"$0\"; touch \"$1/out/ran\"\n");
    fs::write(stage.path("read.sh"), "touch \"$1/out/ran\"\n").unwrap();
    let entries = format!(
        r#"
[binary]
program = "DIR/touch"
args = ["DIR/out/ran"]
effect = "none"
sha256 = "{}"

[script]
program = "DIR/tool"
args = ["DIR"]
effect = "none"
sha256 = "{}"

[reads]
program = "/bin/sh"
args = ["DIR/read.sh", "DIR"]
effect = "none"
files_sha256 = {{ "DIR/read.sh" = "{}" }}
"#,
        sha256(&stage.path("touch")),
        sha256(&stage.path("tool")).to_uppercase(),
        sha256(&stage.path("read.sh")),
    );
    let mark = stage.path("out/ran");
    for name in ["binary", "script", "reads"] {
        let ran = stage.run(&entries, name).await.unwrap();
        assert!(mark.exists(), "{name}");
        fs::remove_file(&mark).unwrap();
        let shown = (name == "script").then(|| format!("{}\n", stage.path("tool").display()));
        assert_eq!(ran.stdout, shown.unwrap_or_default());
    }
    // Another file in its place; one letter more; the file it reads.
    fs::remove_file(stage.path("touch")).unwrap();
    fs::copy("/usr/bin/touch", stage.path("touch")).unwrap();
    script("#!/bin/sh\ntouch \"$1/out/ran\" \n");
    fs::write(stage.path("read.sh"), "touch \"$1/out/ran\" #\n").unwrap();
    for (name, file) in [
        ("binary", "touch"),
        ("script", "tool"),
        ("reads", "read.sh"),
    ] {
        let error = stage.run(&entries, name).await.unwrap_err();
        assert_eq!(error.code(), "program-changed", "{error}");
        assert!(error.nothing_changed() && !error.may_retry());
        let (said, found) = (error.to_string(), sha256(&stage.path(file)));
        assert!(said.contains(file) && said.contains(&found), "{said}");
        assert!(!mark.exists(), "{name} was started");
    }
    fs::remove_file(stage.path("tool")).unwrap();
    let error = stage.run(&entries, "script").await.unwrap_err();
    assert_eq!(error.code(), "program-changed", "{error}");
}
