//! What is configured: sites, modes, report addresses, drawn by a dice; written as a configuration file, and read by the
//! judgement in a way of its own.

use std::net::SocketAddr;

/// Names of the sites that there may be.
pub const SITES: [&str; 3] = ["one", "two", "three"];

/// What does not change in a run.
#[derive(Clone, Debug)]
pub struct House {
    /// How many of [`SITES`] there may be.
    pub sites: usize,
    /// Of each site, whether only upstreams that name it take its mail.
    pub only_own: Vec<bool>,
    /// Each upstream: its address, the sites that it names, its `sender`.
    pub upstreams: Vec<(SocketAddr, Vec<&'static str>, Option<String>)>,
}

/// The keys of all mail, or of a site: none where it says nothing.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Layer {
    pub sending: Option<bool>,
    pub simulate: Option<bool>,
    pub debug: Option<bool>,
    pub redirect: Option<bool>,
    pub report: Option<Vec<(String, bool)>>,
    pub allow: Option<Vec<&'static str>>,
    pub always_sender: Option<bool>,
}

/// One configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    pub global: Layer,
    /// None: the site is not configured.
    pub sites: Vec<Option<Layer>>,
}

/// What happens to the mail of one site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Sending is off, or the site is gone.
    Nothing,
    Simulate,
    Debug,
    Redirect,
    AsAddressed,
}

/// A layer over another.
pub struct Effective<'a>(Option<&'a Layer>, &'a Layer);

impl House {
    pub fn draw(addresses: &[SocketAddr], dice: &mut fastrand::Rng) -> House {
        let sites = dice.usize(0..=SITES.len());
        let upstream = |number: usize, address: &SocketAddr, dice: &mut fastrand::Rng| {
            let named = |_: &&str| number > 0 && dice.u8(0..3) == 0;
            let named: Vec<_> = SITES[..sites].iter().copied().filter(named).collect();
            (*address, named, dice.bool().then(|| format!("relay{number}@relay.test")))
        };
        let upstreams: Vec<_> =
            addresses.iter().enumerate().map(|(number, address)| upstream(number, address, dice)).collect();
        let has_own = |site: &&str| upstreams.iter().any(|(_, named, _)| named.contains(site));
        let only_own = SITES[..sites].iter().map(|site| has_own(site) && dice.bool()).collect();
        House { sites, only_own, upstreams }
    }

    /// Whether mail of that site (`""`: of none) may go through that upstream.
    pub fn takes(&self, upstream: usize, site: &str) -> bool {
        let named = &self.upstreams[upstream].1;
        let place = SITES.iter().position(|name| *name == site);
        match named.is_empty() {
            true => !place.is_some_and(|place| self.only_own[place]),
            false => named.contains(&site),
        }
    }
}

fn maybe<T>(dice: &mut fastrand::Rng, of: u8, value: impl FnOnce(&mut fastrand::Rng) -> T) -> Option<T> {
    (dice.u8(0..of) == 0).then(|| value(dice))
}

impl Layer {
    fn draw(name: &str, dice: &mut fastrand::Rng) -> Layer {
        let all = name == "all";
        let report = |dice: &mut fastrand::Rng| {
            let pool = [format!("qa-{name}@report.test"), format!("Ops-{name}@report.test"), both(name)];
            let mut some: Vec<(String, bool)> = Vec::new();
            for one in pool {
                if dice.u8(0..3) > 0 {
                    some.push((one, dice.u8(0..4) > 0));
                }
            }
            dice.shuffle(&mut some);
            some
        };
        let allow = |dice: &mut fastrand::Rng| {
            ["@allowed.test", "@ALLOWED.test", "Boss@Customer.test"]
                .into_iter()
                .filter(|_| dice.u8(0..3) == 0)
                .collect()
        };
        let sure = |of: u8| if all { 1 } else { of };
        Layer {
            sending: maybe(dice, sure(6), |dice| dice.u8(0..8) > 0),
            simulate: maybe(dice, sure(6), |dice| dice.u8(0..8) == 0),
            debug: maybe(dice, sure(6), |dice| dice.u8(0..8) == 0),
            redirect: maybe(dice, sure(2), |dice| dice.u8(0..2) == 0),
            report: maybe(dice, sure(2), report),
            allow: maybe(dice, sure(3), allow),
            always_sender: maybe(dice, sure(4), |dice| dice.u8(0..5) == 0),
        }
    }

    fn write(&self, parent: &str) -> String {
        let mut text = String::new();
        let mut table = |name: &str, lines: &[Option<String>]| {
            let lines: Vec<&str> = lines.iter().flatten().map(String::as_str).collect();
            if !lines.is_empty() {
                text += &format!("[{parent}{name}]\n{}\n", lines.join("\n"));
            }
        };
        let enabled = |value: Option<bool>| value.map(|value| format!("enabled = {value}"));
        table("sending", &[enabled(self.sending)]);
        table("simulate", &[enabled(self.simulate)]);
        table("debug", &[enabled(self.debug), self.debug.map(|_| "failure_rate = 0.3".to_owned())]);
        let report = |list: &Vec<(String, bool)>| {
            let item = |(email, enabled): &(String, bool)| match enabled {
                true => format!("\"{email}\""),
                false => format!("{{ email = \"{email}\", enabled = false }}"),
            };
            format!("report_emails = [{}]", list.iter().map(item).collect::<Vec<_>>().join(", "))
        };
        let allow = |list: &Vec<&str>| format!("allow = {list:?}");
        table(
            "redirect",
            &[enabled(self.redirect), self.report.as_ref().map(report), self.allow.as_ref().map(allow)],
        );
        let sender = |always: bool| {
            let when = if always { "always" } else { "never" };
            format!("rewrite = \"{when}\"\naddress = \"Shop <shop@rewritten.test>\"")
        };
        table("sender", &[self.always_sender.map(sender)]);
        text
    }
}

/// A report address that messages are addressed to as well.
pub fn both(name: &str) -> String {
    format!("both-{name}@report.test")
}

impl Settings {
    pub fn draw(house: &House, dice: &mut fastrand::Rng) -> Settings {
        let site =
            |name: &&str, dice: &mut fastrand::Rng| (dice.u8(0..6) > 0).then(|| Layer::draw(name, dice));
        Settings {
            global: Layer::draw("all", dice),
            sites: SITES[..house.sites].iter().map(|name| site(name, dice)).collect(),
        }
    }

    /// The same with one thing switched.
    pub fn switched(&self, dice: &mut fastrand::Rng) -> Settings {
        let mut new = self.clone();
        let flip = |key: &mut Option<bool>| *key = Some(*key != Some(true));
        let at = dice.usize(0..=self.sites.len());
        match (new.sites.get_mut(at), dice.u8(0..4)) {
            (Some(site), 0) => *site = if site.is_some() { None } else { Some(Layer::default()) },
            (Some(Some(site)), 1) => flip(&mut site.redirect),
            (_, 2) => new.global.debug = Some(false),
            _ => flip(&mut new.global.redirect),
        }
        new
    }

    /// All sites are there, no mode applies, and mail is sent.
    pub fn calm(house: &House) -> Settings {
        Settings { global: Layer::default(), sites: vec![Some(Layer::default()); house.sites] }
    }

    /// The configuration file.
    pub fn write(&self, house: &House) -> String {
        // The record does not know of bounces, which go to senders where nothing is redirected.
        let mut text = "[queue]\nbounce = \"none\"\nretry = [\"50ms\", \"100ms\", \"300ms\"]\n[events]\nkeep = 1000000\n[log]\nlevel = \"info\"\n".to_owned();
        text += &self.global.write("");
        let there = |name: &&str| {
            let place = SITES.iter().position(|site| site == name);
            place.is_some_and(|place| self.sites.get(place).is_some_and(Option::is_some))
        };
        for (place, name) in SITES[..house.sites].iter().enumerate() {
            let Some(layer) = &self.sites[place] else { continue };
            text += &format!(
                "[site.{name}]\nsenders = [\"@{}.test\"]\nglobal_upstreams = {}\n",
                if place == 0 { name.to_uppercase() } else { (*name).to_owned() },
                !house.only_own[place]
            );
            text += &layer.write(&format!("site.{name}."));
        }
        for (number, (address, named, sender)) in house.upstreams.iter().enumerate() {
            let sites: Vec<_> = named.iter().filter(|name| there(name)).collect();
            // One whose sites are all gone must not become everybody's.
            let enabled = named.is_empty() || !sites.is_empty();
            text += &format!(
                "[upstream.u{number}]\nhost = \"{address}\"\ntls = \"none\"\nenabled = {enabled}\nsites = {sites:?}\n\
                 connect_timeout = \"2s\"\ncommand_timeout = \"2s\"\ndata_timeout = \"2s\"\nfinal_timeout = \"2s\"\n",
            );
            if let Some(sender) = sender {
                text += &format!("sender = \"{sender}\"\n");
            }
        }
        text
    }

    /// What the mail of a site gets; none where the site is not configured.
    pub fn of(&self, site: &str) -> Option<Effective<'_>> {
        if site.is_empty() {
            return Some(Effective(None, &self.global));
        }
        let place = SITES.iter().position(|name| *name == site)?;
        self.sites.get(place)?.as_ref().map(|layer| Effective(Some(layer), &self.global))
    }
}

impl<'a> Effective<'a> {
    fn key<T>(&self, key: impl Fn(&'a Layer) -> Option<T>) -> Option<T> {
        self.0.and_then(&key).or_else(|| key(self.1))
    }

    pub fn mode(&self) -> Mode {
        if self.key(|layer| layer.sending) == Some(false) {
            return Mode::Nothing;
        }
        self.leading_mode()
    }

    /// Whether sending is on or off.
    pub fn leading_mode(&self) -> Mode {
        let on = |key: fn(&Layer) -> Option<bool>| self.key(key) == Some(true);
        match (on(|one| one.simulate), on(|one| one.debug), on(|one| one.redirect)) {
            (true, _, _) => Mode::Simulate,
            (_, true, _) => Mode::Debug,
            (_, _, true) => Mode::Redirect,
            _ => Mode::AsAddressed,
        }
    }

    pub fn enabled(&self) -> impl Iterator<Item = &'a str> {
        let all = self.key(|layer| layer.report.as_ref()).map_or(&[][..], |list| list);
        all.iter().filter(|(_, enabled)| *enabled).map(|(email, _)| email.as_str())
    }

    pub fn allows(&self, recipient: &str) -> bool {
        let lower = recipient.to_ascii_lowercase();
        let domain = lower.rsplit('@').next().unwrap_or_default();
        let all = self.key(|layer| layer.allow.as_ref()).map_or(&[][..], |list| list);
        all.iter().any(|pattern| {
            let pattern = pattern.to_ascii_lowercase();
            pattern.strip_prefix('@').map_or(pattern == lower, |named| named == domain)
        })
    }
}
