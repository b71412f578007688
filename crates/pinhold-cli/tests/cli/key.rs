//! `pinhold key new`: its files as `openssl` reads them, and when none are written.

#[cfg(unix)]
use std::process::Command;

use crate::peers;
use crate::program::{Folder, openssl, pin_by_openssl, run};

#[test]
fn openssl_reads_the_key_and_the_request_and_computes_the_same_pin() {
    let Some(program) = peers::program("openssl") else {
        return;
    };
    let read = |arguments: &[&str]| openssl(&program, arguments, b"");
    for hosts in [&[][..], &["--host", "shop.example"]] {
        let folder = Folder::new();
        let name = folder.path("backup.example");
        let made = run([&["key", "new", &name, "--json"], hosts].concat());
        let json = made.expect_code(0).json();
        let (key, csr) = (format!("{name}.key"), format!("{name}.csr"));
        assert_eq!(json["key"], key);
        assert_eq!(json["csr"], csr);
        assert_eq!(folder.contents().len(), 2);

        let public = read(&["pkey", "-in", &key, "-pubout", "-outform", "DER"]);
        assert_eq!(json["fingerprint"], pin_by_openssl(&program, &public));
        read(&["pkey", "-in", &key, "-noout", "-check"]);
        let requested = read(&["req", "-in", &csr, "-verify", "-pubkey", "-noout"]);
        let requested = openssl(&program, &["pkey", "-pubin", "-outform", "DER"], &requested);
        assert_eq!(requested, public);
        let text = String::from_utf8(read(&["pkey", "-in", &key, "-noout", "-text"]));
        assert!(text.unwrap().contains("NIST CURVE: P-256"));
    }
}

#[test]
fn the_request_is_for_the_hosts() {
    let Some(program) = peers::program("openssl") else {
        return;
    };
    let long = format!("{0}.{0}.example", "a".repeat(40));
    let several = ["Shop.example", "*.shop.example", "b\u{fc}cher.example"];
    let as_names = "DNS:shop.example, DNS:*.shop.example, DNS:xn--bcher-kva.example";
    for (hosts, subject, names) in [
        (&[][..], "subject=", None),
        (&several, "subject=CN=shop.example", Some(as_names)),
        // Longer than a common name may be.
        (&[&long], "subject=", Some(&*format!("DNS:{long}"))),
    ] {
        let folder = Folder::new();
        let name = folder.path("backup");
        let options = hosts.iter().flat_map(|host| ["--host", host]);
        let made = run(["key", "new", &name, "--json"].into_iter().chain(options));
        let json = made.expect_code(0).json();
        assert_eq!(json["hosts"].as_array().unwrap().len(), hosts.len());
        let csr = format!("{name}.csr");
        let text = |more: &[&str]| {
            let text = openssl(
                &program,
                &[&["req", "-in", &csr, "-noout"], more].concat(),
                b"",
            );
            String::from_utf8(text).unwrap()
        };
        let found = text(&["-subject", "-nameopt", "RFC2253"]);
        assert_eq!(found.trim_end(), subject);
        let text = text(&["-text"]);
        let found = text.lines().find(|line| line.contains("DNS:"));
        assert_eq!(found.map(str::trim), names);
    }
}

/// The text contains the pin, and commands that print it and encrypt the key.
#[cfg(unix)]
#[test]
fn the_commands_of_the_text_work() {
    if peers::program("openssl").is_none() {
        return;
    }
    let folder = Folder::new();
    let name = folder.path("a backup");
    let made = run(["key", "new", &name]).expect_code(0);
    assert_eq!(made.stderr, "");
    let pin = made.text().lines().next().unwrap().to_owned();
    let shell = |command: &str| {
        let output = Command::new("sh").args(["-c", command]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    };
    let lines = made.text().lines().collect::<Vec<_>>();
    let commands = lines.iter().position(|line| line.ends_with('|')).unwrap();
    let printed = shell(&lines[commands..commands + 2].join("\n"));
    assert_eq!(format!("sha256/{}", printed.trim_end()), pin);

    let encrypt = lines.iter().find(|line| line.contains("-aes256")).unwrap();
    let file = folder.path("encrypted");
    shell(&encrypt.replace("ENCRYPTED", &format!("'{file}' -passout pass:secret")));
    assert!(
        run(["fingerprint", &file])
            .expect_code(2)
            .stderr
            .contains("encrypted")
    );

    let request = lines
        .iter()
        .position(|line| line.contains("req -new"))
        .unwrap();
    let request = lines[request..request + 2]
        .join("\n")
        .replace("HOST", "shop.example");
    let file = folder.write("new.csr", shell(&request));
    let found = run(["fingerprint", &file]).expect_code(0);
    assert!(found.text().starts_with(&pin), "{}", found.text());
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let name = folder.path("backup");
    run(["key", "new", &name]).expect_code(0);
    for file in ["backup.key", "backup.csr"] {
        let metadata = std::fs::metadata(folder.path(file)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[test]
fn no_file_is_overwritten_and_none_is_left_alone() {
    for existing in ["backup.key", "backup.csr"] {
        let folder = Folder::new();
        let file = folder.write(existing, "precious");
        let before = folder.contents();
        let json = ["key", "new", &folder.path("backup"), "--json"];
        let json = run(json).expect_code(2).json();
        assert_eq!(json["error"], "usage");
        assert!(json["message"].as_str().unwrap().contains(&file), "{json}");
        assert_eq!(folder.contents(), before);
    }
}

/// A limit on the length of files stands for a full disk.
#[cfg(unix)]
#[test]
fn no_file_is_left_when_the_disk_is_full() {
    let folder = Folder::new();
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" key new \"$1\" --json";
    let mut command = Command::new("sh");
    command.args([
        "-c",
        script,
        env!("CARGO_BIN_EXE_pinhold"),
        &folder.path("backup"),
    ]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let json = serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
    assert_eq!(json["error"], "internal");
    assert!(folder.contents().is_empty());
}

#[test]
fn nothing_is_written_for_an_invalid_host_or_into_a_missing_folder() {
    let folder = Folder::new();
    let name = folder.path("backup");
    for host in [
        "192.0.2.1",
        "*.192.0.2.1",
        "*",
        "*.",
        "a.*.example",
        "https://a.example",
        "",
    ] {
        run(["key", "new", &name, "--host", host]).expect_code(2);
    }
    let missing = folder.path("missing/backup");
    let json = run(["key", "new", &missing, "--json"])
        .expect_code(1)
        .json();
    assert_eq!(json["error"], "internal");
    assert!(folder.contents().is_empty());
}

#[test]
fn each_key_is_new() {
    let folder = Folder::new();
    let pins = ["one", "two"].map(|name| {
        let json = run(["key", "new", &folder.path(name), "--json"]);
        json.expect_code(0).json()["fingerprint"].clone()
    });
    assert_ne!(pins[0], pins[1]);
}
