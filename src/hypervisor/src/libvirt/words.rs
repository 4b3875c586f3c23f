//! Libvirt's numbers in this project's words.

use std::ffi::c_int;

use leasefence_core::ids::DomainId;
use virt_sys as sys;

use crate::{HypervisorEvent, StopDetail};

/// What a lifecycle event means; none for one that changes nothing here.
pub(super) fn lifecycle(event: c_int, detail: c_int) -> Option<impl FnOnce(DomainId) -> HypervisorEvent> {
    let event = u32::try_from(event).ok()?;
    let known = [
        sys::VIR_DOMAIN_EVENT_DEFINED,
        sys::VIR_DOMAIN_EVENT_UNDEFINED,
        sys::VIR_DOMAIN_EVENT_STARTED,
        sys::VIR_DOMAIN_EVENT_SUSPENDED,
        sys::VIR_DOMAIN_EVENT_RESUMED,
        sys::VIR_DOMAIN_EVENT_STOPPED,
        sys::VIR_DOMAIN_EVENT_PMSUSPENDED,
        sys::VIR_DOMAIN_EVENT_CRASHED,
    ];
    known.contains(&event).then_some(move |domain| match event {
        sys::VIR_DOMAIN_EVENT_DEFINED => HypervisorEvent::Defined(domain),
        sys::VIR_DOMAIN_EVENT_UNDEFINED => HypervisorEvent::Undefined(domain),
        sys::VIR_DOMAIN_EVENT_STARTED => HypervisorEvent::Started(domain),
        sys::VIR_DOMAIN_EVENT_STOPPED => HypervisorEvent::Stopped { domain, detail: stopped_detail(detail) },
        sys::VIR_DOMAIN_EVENT_RESUMED => HypervisorEvent::Resumed(domain),
        sys::VIR_DOMAIN_EVENT_SUSPENDED if is_for_a_migration(detail) => {
            HypervisorEvent::SuspendedToMigrate(domain)
        }
        _ => HypervisorEvent::Paused(domain),
    })
}

/// The detail of a "suspended" event.
fn is_for_a_migration(detail: c_int) -> bool {
    let details = [
        sys::VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED,
        sys::VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY,
        sys::VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED,
    ];
    u32::try_from(detail).is_ok_and(|detail| details.contains(&detail))
}

/// The detail of a "stopped" event.
pub(super) fn stopped_detail(detail: c_int) -> StopDetail {
    match u32::try_from(detail).unwrap_or(u32::MAX) {
        sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN => StopDetail::Shutdown,
        sys::VIR_DOMAIN_EVENT_STOPPED_DESTROYED => StopDetail::Destroyed,
        sys::VIR_DOMAIN_EVENT_STOPPED_CRASHED => StopDetail::Crashed,
        sys::VIR_DOMAIN_EVENT_STOPPED_MIGRATED => StopDetail::Migrated,
        sys::VIR_DOMAIN_EVENT_STOPPED_SAVED => StopDetail::Saved,
        sys::VIR_DOMAIN_EVENT_STOPPED_FAILED => StopDetail::Failed,
        sys::VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT => StopDetail::FromSnapshot,
        _ => StopDetail::Unknown,
    }
}

/// The reason of the state "shut off", which has other numbers than the event.
pub(super) fn shutoff_reason(reason: c_int) -> StopDetail {
    match u32::try_from(reason).unwrap_or(u32::MAX) {
        sys::VIR_DOMAIN_SHUTOFF_SHUTDOWN => StopDetail::Shutdown,
        sys::VIR_DOMAIN_SHUTOFF_DESTROYED => StopDetail::Destroyed,
        sys::VIR_DOMAIN_SHUTOFF_CRASHED => StopDetail::Crashed,
        sys::VIR_DOMAIN_SHUTOFF_MIGRATED => StopDetail::Migrated,
        sys::VIR_DOMAIN_SHUTOFF_SAVED => StopDetail::Saved,
        sys::VIR_DOMAIN_SHUTOFF_FAILED => StopDetail::Failed,
        sys::VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT => StopDetail::FromSnapshot,
        sys::VIR_DOMAIN_SHUTOFF_DAEMON => StopDetail::Daemon,
        _ => StopDetail::Unknown,
    }
}

/// Why a connection closed.
pub(super) fn close_reason(reason: c_int) -> &'static str {
    match u32::try_from(reason).unwrap_or(u32::MAX) {
        sys::VIR_CONNECT_CLOSE_REASON_EOF => "its daemon closed the connection (stopped, restarted, or died)",
        sys::VIR_CONNECT_CLOSE_REASON_KEEPALIVE => "its daemon hangs: it left its pings unanswered",
        sys::VIR_CONNECT_CLOSE_REASON_CLIENT => "this process closed the connection",
        _ => "the connection broke",
    }
}

/// QEMU's refusal of an image that another QEMU has locked, as libvirt passes it on. QEMU does not translate it, and
/// names the kind of lock: `Failed to get "write" lock`, `Failed to get shared "write" lock`.
pub(super) fn is_image_lock_refusal(message: &str) -> bool {
    message.split("Failed to get ").skip(1).any(|rest| {
        let first_line = rest.lines().next().unwrap_or_default();
        first_line.contains("\" lock")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_image_lock_is_known_by_qemus_own_words() {
        let refusal = "internal error: process exited while connecting to monitor: 2026-11-25T19:03:00Z \
                       qemu-system-x86_64: -blockdev {\"node-name\":\"libvirt-1-format\"}: Failed to get \"write\" lock\n\
                       Is another process using the image [/nfs/a.raw]?";
        assert!(is_image_lock_refusal(refusal));
        assert!(is_image_lock_refusal("Failed to get shared \"write\" lock"));
        assert!(is_image_lock_refusal("Failed to get \"consistent read\" lock"));
        for other in
            ["Could not open '/a \"write\" lock': No such file", "Failed to get domain\n\"x\" lock", ""]
        {
            assert!(!is_image_lock_refusal(other), "{other}");
        }
    }

    #[test]
    fn an_event_that_changes_nothing_here_is_passed_over() {
        assert!(
            lifecycle(i32::try_from(sys::VIR_DOMAIN_EVENT_SHUTDOWN).expect("small"), 0).is_none(),
            "not off yet"
        );
        assert!(lifecycle(99, 0).is_none() && lifecycle(-1, 0).is_none());
        let domain = DomainId([1; 16]);
        let stopped =
            lifecycle(i32::try_from(sys::VIR_DOMAIN_EVENT_STOPPED).expect("small"), 99).expect("known");
        assert_eq!(stopped(domain), HypervisorEvent::Stopped { domain, detail: StopDetail::Unknown });
    }

    /// What the guard of a migration's source rests on.
    #[test]
    fn a_domain_that_is_stopped_for_a_migration_and_one_that_is_resumed_are_told_from_one_that_a_user_pauses()
    {
        let domain = DomainId([1; 16]);
        let told = |event: u32, detail: u32| {
            let number = |value| c_int::try_from(value).expect("small");
            lifecycle(number(event), number(detail)).expect("known")(domain)
        };
        let suspended = sys::VIR_DOMAIN_EVENT_SUSPENDED;
        let paused = told(suspended, sys::VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
        assert_eq!(paused, HypervisorEvent::Paused(domain));
        for detail in [sys::VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED, sys::VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY] {
            assert_eq!(told(suspended, detail), HypervisorEvent::SuspendedToMigrate(domain));
        }
        for detail in [sys::VIR_DOMAIN_EVENT_RESUMED_UNPAUSED, sys::VIR_DOMAIN_EVENT_RESUMED_MIGRATED] {
            assert_eq!(told(sys::VIR_DOMAIN_EVENT_RESUMED, detail), HypervisorEvent::Resumed(domain));
        }
    }
}
