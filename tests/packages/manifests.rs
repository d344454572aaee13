//! conf/sidecar/compose.yaml, conf/kubernetes and .github, held against the schemas of Compose, Kubernetes and GitHub, and the first
//! two against what the image needs.

use super::container::{USER, text as text_of};
use super::succeed;
use crate::support::proxy::postroom;
use crate::support::{clients, foreign};
use std::path::{Path, PathBuf};
use std::process::Command;

fn conf(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(path)
}

/// A Python module that `./scripts/setup` has put below target/, to be run.
#[track_caller]
fn module(name: &str) -> Option<Command> {
    let folder = foreign::folder().join("manifests");
    if !foreign::have(&["python3", text_of(&folder.join(name))]) {
        return None;
    }
    let mut command = Command::new("python3");
    command.arg("-m").arg(name).env("PYTHONPATH", folder);
    Some(command)
}

fn kubernetes() -> Vec<PathBuf> {
    let files = std::fs::read_dir(conf("kubernetes")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.sort();
    files
}

#[test]
fn compose_takes_its_file() {
    let Some(mut check) = module("check_jsonschema") else { return };
    check.args(["--builtin-schema", "vendor.compose-spec"]).arg(conf("sidecar/compose.yaml"));
    clients::succeeded(&mut check, b"");
}

#[test]
fn kubernetes_takes_its_files_strictly() {
    let Some(mut check) = module("kubernetes_validate") else { return };
    clients::succeeded(check.arg("--strict").args(kubernetes()), b"");
}

/// The configuration in gateway.yaml, with its secrets elsewhere.
#[test]
fn the_gateways_configuration_is_right() {
    let text = std::fs::read_to_string(conf("kubernetes/gateway.yaml")).unwrap();
    let config: Vec<&str> = text
        .lines()
        .skip_while(|line| line.trim() != "postroom.toml: |")
        .skip(1)
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(str::trim)
        .collect();
    let folder = tempfile::tempdir().unwrap();
    for secret in ["primary", "fallback"] {
        let file = folder.path().join(secret);
        std::fs::write(&file, "secret").unwrap();
        succeed(&["chmod", "600", text_of(&file)]);
    }
    let file = folder.path().join("postroom.toml");
    let config = config.join("\n").replace("/run/secrets/postroom", text_of(folder.path()));
    std::fs::write(&file, &config).unwrap();
    let output = clients::succeeded(postroom().arg("check").arg("--config").arg(&file), b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(config.contains("[upstream.fallback]") && !said.contains("warning"), "{said}");
}

/// What is written into both the image and the examples, and has to be the same.
#[test]
fn the_examples_and_the_image_speak_of_the_same() {
    for file in kubernetes() {
        let text = std::fs::read_to_string(&file).unwrap();
        let shown = file.display();
        if !text.contains("image: postroom") {
            continue;
        }
        assert!(text.contains(&format!("runAsUser: {USER}")), "{shown}");
        assert!(text.contains(&format!("fsGroup: {USER}")), "{shown}");
        assert!(text.contains("mountPath: /data"), "{shown}");
        assert!(text.contains("[\"/postroom\", \"ready\"]"), "{shown}");
        assert!(text.contains("2525"), "{shown}");
    }
}

/// Workflows, issue forms and what updates dependencies.
#[test]
fn github_takes_its_files() {
    let forms = ["bug", "feature", "question"].map(|name| format!("ISSUE_TEMPLATE/{name}.yml"));
    for (schema, files) in [
        ("github-workflows", vec!["workflows/test.yml", "workflows/release.yml"]),
        ("github-issue-forms", forms.iter().map(String::as_str).collect()),
        ("github-issue-config", vec!["ISSUE_TEMPLATE/config.yml"]),
        ("dependabot", vec!["dependabot.yml"]),
    ] {
        let Some(mut check) = module("check_jsonschema") else { return };
        check.args(["--builtin-schema", &format!("vendor.{schema}")]);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github");
        clients::succeeded(check.args(files.iter().map(|file| folder.join(file))), b"");
    }
}
