//! The image: what it is, and what a container of it does.

use super::container::{DOOR, Image, USER, Volume, instruction, words};
use super::{name_server, with_a_network_of_its_own};
use crate::support::eventually;
use crate::support::recorder::Recorder;
use crate::support::talk::Talk;
use std::time::Instant;

#[test]
fn one_variable_is_enough_to_relay_as_nobody_by_a_name_of_dns_and_a_stop_drains() {
    with_a_network_of_its_own(|| {
        let image = Image::make();
        name_server::serve("mail.provider.test");
        let (upstream, volume) = (Recorder::start(), Volume::of_the_user());
        let relayhost = format!("mail.provider.test:{}", upstream.address().port());
        let start = Instant::now();
        let mut container = image.run(&volume, &[("RELAYHOST", &relayhost)]);
        eventually("an open port", || std::net::TcpStream::connect(DOOR).ok());
        println!("the port is open {} ms after the start", start.elapsed().as_millis());
        container.becomes_healthy();

        let status = std::fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        assert_eq!(field("Uid:"), vec![USER.to_string(); 4].join("\t"));
        assert_eq!((field("CapEff:"), field("NoNewPrivs:")), ("0000000000000000", "1"));

        Talk::hello(DOOR).mail("ann@example.com", 100);
        assert_eq!(upstream.wait(1)[0].rcpt, ["<ann@example.com>"]);

        // What is under way when it is stopped is taken, and leaves now or at the next start.
        let (mut client, mut idle) = (Talk::hello(DOOR), Talk::hello(DOOR));
        client.begin_data("<shop@example.com>", &["<bob@example.com>"]);
        container.stop();
        idle.hear("421");
        client.send("Subject: t\r\n\r\nx\r\n.\r\n");
        client.hear("250 2.0.0 queued as ");
        assert!(container.wait().success(), "{}", container.said());
        for line in container.said().lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        }
        let mut again = image.run(&volume, &[("RELAYHOST", &relayhost)]);
        again.becomes_healthy();
        assert_eq!(upstream.wait(2)[1].rcpt, ["<bob@example.com>"]);
    });
}

#[test]
fn without_an_upstream_it_says_so_starts_and_keeps_mail() {
    with_a_network_of_its_own(|| {
        let (image, volume) = (Image::make(), Volume::of_the_user());
        let mut container = image.run(&volume, &[]);
        container.becomes_healthy();
        Talk::hello(DOOR).mail("ann@example.com", 100);
        let queue = container.execute(&["/postroom", "queue", "list", "--json"]);
        let queue: serde_json::Value = serde_json::from_slice(&queue.stdout).unwrap();
        assert_eq!(queue[0]["recipients"][0]["address"], "ann@example.com");
        let said = container.said();
        assert!(said.contains("WARN") && said.contains("no upstream"), "{said}");
    });
}

// CASES G10
#[test]
fn a_volume_that_cannot_be_written_says_whose_it_must_be() {
    with_a_network_of_its_own(|| {
        let image = Image::make();
        for (volume, why) in [
            (Volume::owned_by(0, 0, 0o755), "Permission denied"),
            (Volume::read_only(), "Read-only file system"),
        ] {
            let (code, said) = image.run(&volume, &[]).refused();
            assert_eq!(code, Some(1), "{said}");
            assert!(said.contains("data_dir /data cannot be used") && said.contains(why), "{said}");
            assert!(said.contains("user 65532"), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
        // What fsGroup: 65532 makes of a volume of root's.
        let volume = Volume::owned_by(0, USER, 0o2775);
        image.run(&volume, &[]).becomes_healthy();
    });
}

// CASES G10
#[test]
fn two_containers_do_not_share_a_volume_and_the_first_goes_on() {
    with_a_network_of_its_own(|| {
        let (image, volume) = (Image::make(), Volume::of_the_user());
        let mut first = image.run(&volume, &[]);
        first.becomes_healthy();
        let other_port = [("POSTROOM_LISTENER__LOCAL__ADDRESS", "127.0.0.1:2526")];
        let (code, said) = image.run(&volume, &other_port).refused();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("data_dir /data is in use by another postroom"), "{said}");
        assert!(said.contains("another container") && !said.contains("process 0"), "{said}");
        Talk::hello(DOOR).mail("ann@example.com", 100);
        // Killed, it leaves nothing in the way of the next.
        drop(first);
        image.run(&volume, &other_port).becomes_healthy();
    });
}

#[test]
fn a_secret_that_is_not_there_is_named() {
    with_a_network_of_its_own(|| {
        let (image, volume) = (Image::make(), Volume::of_the_user());
        let secret = [
            ("RELAYHOST", "mail.provider.test:587"),
            ("RELAYHOST_USERNAME", "shop"),
            ("RELAYHOST_PASSWORD_FILE", "/run/secrets/smtp-password"),
        ];
        let (code, said) = image.run(&volume, &secret).refused();
        assert_eq!(code, Some(78), "{said}");
        for part in ["RELAYHOST_PASSWORD_FILE", "/run/secrets/smtp-password", "No such file"] {
            assert!(said.contains(part), "{part} in {said}");
        }
    });
}

// CASES G6
#[test]
fn port_25_takes_what_a_pods_sysctl_allows() {
    with_a_network_of_its_own(|| {
        let (image, volume) = (Image::make(), Volume::of_the_user());
        let port_25 = [("POSTROOM_LISTENER__LOCAL__ADDRESS", "127.0.0.1:25")];
        let first = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
        std::fs::write(first, "1024").unwrap();
        let (code, said) = image.run(&volume, &port_25).refused();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("ip_unprivileged_port_start"), "{said}");
        std::fs::write(first, "25").unwrap();
        let mut container = image.run(&volume, &port_25);
        container.becomes_healthy();
        Talk::hello(([127, 0, 0, 1], 25).into()).mail("ann@example.com", 100);
    });
}

#[test]
fn the_image_that_is_built_has_what_the_containerfile_says_and_no_shell() {
    with_a_network_of_its_own(|| {
        let image = Image::make();
        assert!(!image.file("bin/sh").exists());
        assert_eq!(
            image.file("data").metadata().unwrap().permissions(),
            std::os::unix::fs::PermissionsExt::from_mode(0o40700)
        );
        let Some(config) = &image.config else { return };
        let list =
            |value: &serde_json::Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
        assert_eq!(list(&config["Entrypoint"]), words("ENTRYPOINT"));
        assert_eq!(list(&config["Cmd"]), words("CMD"));
        assert_eq!(config["User"], instruction("USER"));
        assert!(list(&config["Env"]).contains(&instruction("ENV").to_owned()));
        assert_eq!(list(&config["Healthcheck"]["Test"])[1..], words("HEALTHCHECK"));
        assert!(config["Volumes"][instruction("VOLUME")].is_object(), "{config}");
        assert_eq!(config["StopSignal"], instruction("STOPSIGNAL"));
    });
}
