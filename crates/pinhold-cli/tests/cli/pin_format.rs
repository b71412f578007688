//! `pinhold fingerprint --format`: the pins in the form of each client's configuration.

use std::process::Command;

use pinhold_testing::{TestCa, TestServer};
use serde_json::{Value, json};

use crate::peers;
use crate::pki::Ca;
use crate::program::{Folder, Run, Site, finish, run, run_async};

const FORMS: [&str; 5] = ["pin-file", "header", "curl", "kotlin", "xml"];

/// Files with a root each, and the base64 of their pins.
fn two_roots(folder: &Folder) -> ([String; 2], [String; 2]) {
    let roots = [Ca::root("One"), Ca::root("Two")];
    let [one, two] = &roots;
    let files = [
        folder.write("one.pem", one.pem()),
        folder.write("two.pem", two.pem()),
    ];
    (files, roots.map(|root| root.pin().to_base64()))
}

#[test]
fn prints_the_pins_of_files_in_every_form() {
    let folder = Folder::new();
    let ([one, two], [a, b]) = two_roots(&folder);
    let hosts = ["--host", "Shop.example", "--host", "api.example"];
    for (form, hosts, expected) in [
        (
            "header",
            &[][..],
            format!("pin-sha256=\"{a}\"; pin-sha256=\"{b}\"\n"),
        ),
        ("curl", &[], format!("sha256//{a};sha256//{b}\n")),
        (
            "xml",
            &[],
            format!(
                "<pin-set>\n    <pin digest=\"SHA-256\">{a}</pin>\n    \
                 <pin digest=\"SHA-256\">{b}</pin>\n</pin-set>\n"
            ),
        ),
        (
            "kotlin",
            &hosts,
            format!(
                "CertificatePinner.Builder()\n    \
                 .add(\"api.example\", \"sha256/{a}\")\n    \
                 .add(\"api.example\", \"sha256/{b}\")\n    \
                 .add(\"shop.example\", \"sha256/{a}\")\n    \
                 .add(\"shop.example\", \"sha256/{b}\")\n    .build()\n"
            ),
        ),
    ] {
        // A pin occurs once, even if two files have it.
        let fixed = ["fingerprint", "--format", form, &one, &two, &one];
        let arguments = [&fixed, hosts].concat();
        let found = run(&arguments).expect_code(0);
        assert_eq!((found.text(), &*found.stderr), (&*expected, ""), "{form}");
        let json = run([&arguments[..], &["--json"]].concat())
            .expect_code(0)
            .json();
        assert_eq!(json, json!({ "format": form, "text": expected.trim_end() }));
    }
}

#[test]
fn a_pin_file_of_files_is_for_the_given_hosts() {
    let folder = Folder::new();
    let ([one, two], [a, b]) = two_roots(&folder);
    let hosts = ["--host", "Shop.example", "--host", "api.example"];
    let fixed = ["fingerprint", "--format", "pin-file", &one, &two];
    let expected = json!({
        "version": 1,
        "policies": [{
            "hosts": ["api.example", "shop.example"],
            "pins": [
                { "pin": format!("sha256/{a}"), "comment": "root, CN=One" },
                { "pin": format!("sha256/{b}"), "comment": "root, CN=Two" },
            ],
        }],
    });
    let found = run([&fixed[..], &hosts].concat()).expect_code(0);
    assert_eq!(
        serde_json::from_str::<Value>(found.text()).unwrap(),
        expected
    );
    assert_eq!(found.stderr, "");
    let found = run([&fixed[..], &hosts, &["--json"]].concat()).expect_code(0);
    assert_eq!(found.json(), expected);
}

/// Runs the command on a server and these files.
async fn pin_file_of(site: &Site, more: &[&str]) -> (Run, Value) {
    let options = [&["--format", "pin-file"], more].concat();
    let run = site
        .run_trusted("fingerprint", &options)
        .await
        .expect_code(0);
    let json = serde_json::from_str(run.text()).unwrap();
    (run, json)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_file_has_the_recommended_keys_of_servers_and_all_keys_of_files() {
    let site = Site::start(&[]).await;
    let leaf = json!({ "pin": site.leaf.pin().to_string(), "comment": "leaf, CN=shop.example" });
    let root = json!({ "pin": site.root.pin().to_string(), "comment": "root, CN=Root" });
    let (run, json) = pin_file_of(&site, &[]).await;
    let policy = json!({ "hosts": ["shop.example"], "pins": [leaf, root] });
    assert_eq!(json, json!({ "version": 1, "policies": [policy] }));
    assert!(run.stderr.contains("backup"), "{}", run.stderr);

    let name = site.folder.path("backup");
    let made = run_async(&["key", "new", &name, "--json"])
        .await
        .expect_code(0);
    let pin = made.json()["fingerprint"].clone();
    let key = format!("{name}.key");
    let backup = json!({ "pin": pin, "comment": "private-key, backup.key" });
    let pins = json!([leaf, root, backup]);
    let (run, json) = pin_file_of(&site, &[&key]).await;
    assert_eq!(
        json["policies"][0],
        json!({ "hosts": ["shop.example"], "pins": pins })
    );
    assert_eq!(run.stderr, "");
    let (_, json) = pin_file_of(&site, &[&key, "--host", "api.example"]).await;
    assert_eq!(
        json["policies"],
        json!([{ "hosts": ["api.example"], "pins": pins }])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_server_has_a_policy_with_its_own_keys() {
    let names = &["shop.example", "api.example"];
    let [one, two] = ["One", "Two"].map(Ca::root);
    let leaf = one.leaf(names);
    let one = Site::with_chain(one, leaf, &[]).await;
    let leaf = two.leaf(names);
    let two = Site::with_chain(two, leaf, &[]).await;
    let other = format!("https://api.example:{}", two.port());
    let resolve = format!("api.example:{}:127.0.0.1", two.port());
    let root = two.root_file();
    let options = [&*other, "--resolve", &resolve, "--ca", &root];
    let (run, json) = pin_file_of(&one, &options).await;
    let policies = json["policies"].as_array().unwrap();
    for (policy, (host, site)) in policies
        .iter()
        .zip([("shop.example", &one), ("api.example", &two)])
    {
        assert_eq!(policy["hosts"], json!([host]));
        let pins = policy["pins"].as_array().unwrap().iter();
        let pins = pins.map(|pin| pin["pin"].as_str().unwrap().to_owned());
        assert!(
            pins.eq([site.leaf.pin(), site.root.pin()].map(|pin| pin.to_string())),
            "{json}"
        );
    }
    assert_eq!(policies.len(), 2);
    assert_eq!(
        run.stderr.matches("what to do").count(),
        2,
        "{}",
        run.stderr
    );
    for form in ["header", "curl", "xml"] {
        let options = [&options, &["--format", form][..]].concat();
        one.run_trusted("fingerprint", &options)
            .await
            .expect_code(2);
    }
}

#[test]
fn one_pin_is_marked_as_without_backup_and_warned_of() {
    let folder = Folder::new();
    let ([one, _], _) = two_roots(&folder);
    let fixed = [
        "fingerprint",
        &one,
        "--host",
        "a.example",
        "--format",
        "pin-file",
    ];
    let found = run(fixed).expect_code(0);
    let json = serde_json::from_str::<Value>(found.text()).unwrap();
    assert_eq!(json["policies"][0]["without_backup"], true);
    assert!(found.stderr.contains("backup"), "{}", found.stderr);
    for form in ["header", "curl", "xml"] {
        let found = run(["fingerprint", &one, "--format", form]).expect_code(0);
        assert!(found.stderr.contains("backup"), "{form}: {}", found.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_without_the_host_or_the_pins_that_they_need_are_refused() {
    let folder = Folder::new();
    let ([one, _], _) = two_roots(&folder);
    for form in ["pin-file", "kotlin"] {
        let json = ["fingerprint", &one, "--format", form, "--json"];
        let json = run_async(&json).await.expect_code(2).json();
        assert!(
            json["message"].as_str().unwrap().contains("--host"),
            "{json}"
        );
    }
    for form in ["text", "header", "curl", "xml"] {
        let host = ["fingerprint", &one, "--format", form, "--host", "a.example"];
        run_async(&host).await.expect_code(2);
    }
    let site = Site::with_leaf(|root| root.leaf(&["shop.example", "127.0.0.1"]), &[]).await;
    for form in FORMS {
        let format = ["--format", form];
        let insecure = [&format[..], &["--insecure"]].concat();
        let insecure = site.run("fingerprint", &insecure).await.expect_code(2);
        assert_eq!(insecure.stdout, b"");
        let root = site.root_file();
        let user_added = [&format[..], &["--user-ca", &root]].concat();
        assert_eq!(
            site.run("fingerprint", &user_added)
                .await
                .expect_code(2)
                .stdout,
            b""
        );

        // Clients pin names only, except curl.
        let url = format!("https://127.0.0.1:{}", site.port());
        let address = [&["fingerprint", &url, "--ca", &root], &format[..]].concat();
        let needs_name = ["pin-file", "kotlin"].contains(&form);
        run_async(&address)
            .await
            .expect_code(if needs_name { 2 } else { 0 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_accepts_the_server_with_its_own_pins_and_refuses_it_with_others() {
    let Some(curl) = peers::program("curl") else {
        return;
    };
    let ca = TestCa::new().unwrap();
    let folder = Folder::new();
    let roots = folder.write("roots.pem", ca.built_in_pem());
    let server = TestServer::builder("api.example")
        .with_ca(&ca)
        .good()
        .await
        .unwrap();
    let resolve = format!("api.example:{}:127.0.0.1", server.addr().port());
    let connection = ["--resolve", &resolve];
    let url = server.url();
    let fixed = ["fingerprint", "--format", "curl", "--ca", &roots];
    let own = run_async(&[&fixed, &connection[..], &[&url]].concat())
        .await
        .expect_code(0);
    let ([one, two], _) = two_roots(&folder);
    let others = run_async(&["fingerprint", "--format", "curl", &one, &two])
        .await
        .expect_code(0);
    for (pins, code) in [(own, 0), (others, 90)] {
        let mut command = Command::new(&curl);
        command.args([
            "--silent",
            "--cacert",
            &roots,
            "--noproxy",
            "*",
            "--max-time",
            "20",
        ]);
        command
            .args(["--pinnedpubkey", pins.text().trim_end()])
            .args(connection)
            .arg(&url);
        let run = tokio::task::spawn_blocking(move || finish(&mut command)).await;
        run.unwrap().expect_code(code);
    }
}
