//! Whether libvirt's job of a domain is a migration to another host. The crate's own call is of no use for that: libvirt gives no list
//! at all for a domain without a job, and a job may end between two questions.

use std::ffi::c_int;
use std::ptr;

use leasefence_core::ids::DomainId;
use virt::connect::Connect;
use virt::error::Error;
use virt_sys as sys;

use super::calls::{about, find};
use crate::HypervisorError;

pub(super) fn migrates_away(connect: &Connect, domain: DomainId) -> Result<bool, HypervisorError> {
    let handle = find(connect, domain)?;
    let (mut kind, mut params, mut count): (c_int, sys::virTypedParameterPtr, c_int) =
        (0, ptr::null_mut(), 0);
    // SAFETY: the handle lives until this function returns; libvirt writes all three, and what it allocates is freed below.
    let got = unsafe { sys::virDomainGetJobStats(handle.as_ptr(), &mut kind, &mut params, &mut count, 0) };
    if got < 0 {
        return Err(about(domain, "asking for a domain's job", &Error::last_error()));
    }
    let mut operation = 0;
    // SAFETY: libvirt has just given the list with its length; it takes an empty one, too. The name is a constant of its own.
    let found = unsafe {
        sys::virTypedParamsGetInt(params, count, sys::VIR_DOMAIN_JOB_OPERATION.as_ptr(), &mut operation)
    };
    // SAFETY: as above; nothing refers to the list any more.
    unsafe { sys::virTypedParamsFree(params, count) };
    Ok(is_migration_away(kind, (found == 1).then_some(operation)))
}

/// A job that does not say what it is may be one.
fn is_migration_away(kind: c_int, operation: Option<c_int>) -> bool {
    let away = [sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, sys::VIR_DOMAIN_JOB_OPERATION_UNKNOWN];
    let is_away = |operation: c_int| u32::try_from(operation).is_ok_and(|it| away.contains(&it));
    u32::try_from(kind) != Ok(sys::VIR_DOMAIN_JOB_NONE) && operation.is_none_or(is_away)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_away(kind: sys::virDomainJobType, operation: Option<sys::virDomainJobOperation>) -> bool {
        let number = |word: u32| c_int::try_from(word).expect("libvirt's numbers are small");
        is_migration_away(number(kind), operation.map(number))
    }

    /// Catches: a source that runs on beside its destination for as long as a backup of it is under way.
    #[test]
    fn only_a_migration_away_is_one_and_what_may_be_one() {
        assert!(is_away(sys::VIR_DOMAIN_JOB_UNBOUNDED, Some(sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT)));
        // Between the last step of a migration and libvirt's word to the source.
        assert!(is_away(sys::VIR_DOMAIN_JOB_COMPLETED, Some(sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT)));
        assert!(is_away(sys::VIR_DOMAIN_JOB_UNBOUNDED, Some(sys::VIR_DOMAIN_JOB_OPERATION_UNKNOWN)));
        assert!(is_away(sys::VIR_DOMAIN_JOB_UNBOUNDED, None), "a libvirt before 3.3");
        for other in [
            sys::VIR_DOMAIN_JOB_OPERATION_BACKUP,
            sys::VIR_DOMAIN_JOB_OPERATION_SAVE,
            sys::VIR_DOMAIN_JOB_OPERATION_DUMP,
            sys::VIR_DOMAIN_JOB_OPERATION_SNAPSHOT,
            sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN,
        ] {
            assert!(!is_away(sys::VIR_DOMAIN_JOB_UNBOUNDED, Some(other)), "{other}");
        }
        assert!(!is_away(sys::VIR_DOMAIN_JOB_NONE, None));
    }
}
