//! An iSCSI session: its timeouts, of which some are the kernel's and some are kept by iscsid.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest that pings may take to find a dead path, and a login over it, so that a cut costs little more than itself.
/// Measured (docs/STORAGE.md): pings 2/4 and `login_timeout` 2 made 18.2 s of a cut of 18 s; the defaults (5/5, 15) made 29 s of
/// 13 s. A shorter wait for a ping ends the session in each gap of a path that flaps.
const MOST_PING_INTERVAL: u64 = 2;
const MOST_PING_TIMEOUT: u64 = 4;
const MOST_LOGIN: u64 = 2;
/// Where iscsid keeps its node records: Debian 12, and the others.
const NODES: [&str; 2] = ["etc/iscsi/nodes", "var/lib/iscsi/nodes"];

/// An iSCSI session. What cannot be read is `None`. All in seconds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IscsiSession {
    /// The target's name.
    pub target: String,
    /// `node.conn[0].timeo.noop_out_interval`: between two pings; 0 is never.
    pub ping_interval: Option<u64>,
    /// `node.conn[0].timeo.noop_out_timeout`: how long a ping is waited for; 0 is for ever.
    pub ping_timeout: Option<u64>,
    /// `node.conn[0].timeo.login_timeout`: how long a login is waited for before it is tried again.
    pub login_timeout: Option<u64>,
}

impl IscsiSession {
    /// The session with this number, as the files below `root` describe it.
    pub(crate) fn read(root: &Path, number: u32) -> Self {
        let connection = root.join(format!("sys/class/iscsi_connection/connection{number}:0"));
        let target = target_of(root, number);
        Self {
            ping_interval: text(&connection.join("recv_tmo")).and_then(|text| text.parse().ok()),
            ping_timeout: text(&connection.join("ping_tmo")).and_then(|text| text.parse().ok()),
            login_timeout: login_timeout(root, &target),
            target,
        }
    }

    pub(crate) fn advice(&self, ttl: Duration) -> Vec<String> {
        let (target, mut advice) = (&self.target, Vec::new());
        let fits = |value: Option<u64>, most| value.is_none_or(|value| (1..=most).contains(&value));
        if !fits(self.ping_interval, MOST_PING_INTERVAL) || !fits(self.ping_timeout, MOST_PING_TIMEOUT) {
            let (interval, timeout) =
                (self.ping_interval.unwrap_or_default(), self.ping_timeout.unwrap_or_default());
            advice.push(format!(
                "iSCSI session {target}: pings each {interval} s with a timeout of {timeout} s notice a cut link late, so that \
                 one much shorter than the ttl of {ttl:?} ends the lease. Set node.conn[0].timeo.noop_out_interval to \
                 {MOST_PING_INTERVAL} and noop_out_timeout to {MOST_PING_TIMEOUT}, and log in anew."
            ));
        }
        if !fits(self.login_timeout, MOST_LOGIN) {
            advice.push(format!(
                "iSCSI session {target}: a login over a cut link is waited for during {} s, so that a cut much shorter than the \
                 ttl of {ttl:?} ends the lease. Set node.conn[0].timeo.login_timeout to 1 or {MOST_LOGIN}, and log in anew.",
                self.login_timeout.unwrap_or_default()
            ));
        }
        advice
    }
}

/// The name of a session's target; empty where the kernel does not say.
pub(crate) fn target_of(root: &Path, session: u32) -> String {
    text(&root.join(format!("sys/class/iscsi_session/session{session}/targetname"))).unwrap_or_default()
}

fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The kernel does not know it: it stands in iscsid's record of the node, one file a portal and interface. Of several the
/// longest counts.
fn login_timeout(root: &Path, target: &str) -> Option<u64> {
    let nodes = NODES.iter().map(|nodes| root.join(nodes).join(target));
    nodes.flat_map(|node| files_below(&node, 2)).filter_map(|record| login_timeout_in(&text(&record)?)).max()
}

fn login_timeout_in(record: &str) -> Option<u64> {
    let value = |line: &str| {
        line.trim()
            .strip_prefix("node.conn[0].timeo.login_timeout")?
            .trim()
            .strip_prefix('=')?
            .trim()
            .parse()
            .ok()
    };
    record.lines().find_map(value)
}

fn files_below(path: &Path, depth: u8) -> Vec<PathBuf> {
    if !path.is_dir() {
        return if path.is_file() { vec![path.to_owned()] } else { Vec::new() };
    }
    let Some(depth) = depth.checked_sub(1) else { return Vec::new() };
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.flat_map(|entry| files_below(&entry.path(), depth)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(12);

    #[test]
    fn the_kernels_and_iscsids_timeouts_are_read_and_judged() -> std::io::Result<()> {
        let root = tempfile::tempdir()?;
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(path, text)
        };
        write("sys/class/iscsi_session/session3/targetname", "iqn.2026-01.t:x\n")?;
        write("sys/class/iscsi_connection/connection3:0/recv_tmo", "5\n")?;
        write("sys/class/iscsi_connection/connection3:0/ping_tmo", "5\n")?;
        let record =
            "# BEGIN RECORD\nnode.conn[0].timeo.login_timeout = 15\nnode.conn[0].timeo.logout_timeout = 15\n";
        write("etc/iscsi/nodes/iqn.2026-01.t:x/10.0.0.1,3260,1/default", record)?;
        let session = IscsiSession::read(root.path(), 3);
        let expected = IscsiSession {
            target: "iqn.2026-01.t:x".to_owned(),
            ping_interval: Some(5),
            ping_timeout: Some(5),
            login_timeout: Some(15),
        };
        assert_eq!(session, expected);
        assert_eq!(session.advice(TTL).len(), 2);
        let good = IscsiSession {
            ping_interval: Some(2),
            ping_timeout: Some(4),
            login_timeout: Some(2),
            ..expected.clone()
        };
        assert_eq!(good.advice(TTL), Vec::<String>::new());
        let never = IscsiSession { ping_interval: Some(0), ..good };
        assert_eq!(never.advice(TTL).len(), 1, "0 is never");
        assert_eq!(
            IscsiSession::read(root.path(), 4).advice(TTL).len(),
            0,
            "what cannot be read is not judged"
        );
        Ok(())
    }
}
