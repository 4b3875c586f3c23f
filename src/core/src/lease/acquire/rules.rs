//! What S1 and S3 decide for one key, by what a scan shows.

use super::Attempt;
use crate::format::{LeaseBase, LeaseFlags, LeaseState};
use crate::ids::{DomainId, Generation, Incarnation, Slot, Term};
use crate::lease::own::OwnPage;
use crate::lease::table::Taken;
use crate::lease::types::{AcquireKind, AcquireOutcome, AcquireRequest, Conflict, LeaseContext};
use crate::lease::view::{KeyView, PageScan};
use crate::planted::planted;

/// The top of a key: whose, which term, which state.
pub(super) type TopId = Option<(Incarnation, Term, LeaseState)>;

/// S1 for one key: the term to want, 1 + the highest of all terms and wants seen, the dead hosts' too, and for `incoming` of the own
/// earlier ones; and the top.
pub(super) fn first(
    ctx: &LeaseContext<'_>,
    own: &OwnPage,
    scan: &PageScan,
    request: &AcquireRequest,
) -> Result<(Term, TopId), Attempt> {
    let me = own.incarnation();
    let view = view_of(ctx, scan, own, request.domain);
    if let Some(mine) = view.mine(me) {
        match mine.state {
            LeaseState::Own if request.kind == AcquireKind::Retake => {}
            LeaseState::Own => return Err(Attempt::End(AcquireOutcome::AlreadyOwn(mine.term))),
            LeaseState::Incoming => return Err(busy(me, Conflict::Incoming)),
            _ => {}
        }
    }
    check(ctx, scan, &view, me, source_of(ctx, &view, &request.kind))?;
    check_kind(ctx, &view, &request.kind, me)?;
    // Of a host's attempts to let the domain in each has its own term: its source tells them apart by that.
    let floor = match request.kind {
        AcquireKind::Incoming(_) => own.incoming_floor(request.domain),
        _ => Term(0),
    };
    let term = view.highest().max(floor).0.checked_add(1).map(Term);
    let no_term = || Attempt::End(AcquireOutcome::NotRecoverable("its terms are used up".into()));
    Ok((term.ok_or_else(no_term)?, view.top_id()))
}

/// S3 for one key: no conflict, no term or want at or above the wanted one, and for a recovery still the same top.
pub(super) fn second(
    ctx: &LeaseContext<'_>,
    own: &OwnPage,
    scan: &PageScan,
    request: &AcquireRequest,
    term: Term,
    top: &TopId,
) -> Result<Taken, Attempt> {
    let me = own.incarnation();
    let view = view_of(ctx, scan, own, request.domain);
    let pred = view.predecessor(ctx.gone);
    let top_entry = match request.kind {
        AcquireKind::Retake => view.mine(me).copied(),
        _ => view.top().map(|(_, entry)| *entry),
    };
    let taken = Taken { term, base: view.base(ctx.gone), top: top_entry, pred };
    let granted = planted!(LowestLiveSlotActs) && matches!(request.kind, AcquireKind::Recovery { .. });
    if planted!(NoSecondScan) || granted {
        return Ok(taken);
    }
    check(ctx, scan, &view, me, source_of(ctx, &view, &request.kind))?;
    if planted!(NoSecondLookAtTop) {
        return Ok(taken);
    }
    if view.highest_but_want_of(me) >= term {
        return Err(Attempt::Again(AcquireOutcome::GaveUp));
    }
    let same_top = matches!(request.kind, AcquireKind::Recovery { .. } | AcquireKind::Incoming(_));
    if same_top && view.top_id() != *top {
        return Err(Attempt::Again(AcquireOutcome::GaveUp));
    }
    check_kind(ctx, &view, &request.kind, me)?;
    Ok(taken)
}

/// The key as a scan and the own memory show it.
fn view_of(ctx: &LeaseContext<'_>, scan: &PageScan, own: &OwnPage, domain: DomainId) -> KeyView {
    let mut view = KeyView::of(scan, own, domain);
    if planted!(TermNotAboveDeadWants) {
        let dead = view.entries.iter_mut().filter(|(who, _)| (ctx.gone)(*who));
        dead.for_each(|(_, entry)| entry.want_term = Term(0));
    }
    view
}

/// The live source of a migration: the one owner beside which `incoming` may stand, since its own entry is the top.
fn source_of(ctx: &LeaseContext<'_>, view: &KeyView, kind: &AcquireKind) -> Option<Incarnation> {
    let (who, top) = view.top().filter(|_| matches!(kind, AcquireKind::Incoming(_)))?;
    (top.state == LeaseState::Own && !(ctx.gone)(*who)).then_some(*who)
}

/// What holds for every key, in both scans: every other host's sector is readable, gone or not, and no live incarnation
/// stands against it but the source of a migration, by its own entry.
fn check(
    ctx: &LeaseContext<'_>,
    scan: &PageScan,
    view: &KeyView,
    me: Incarnation,
    source: Option<Incarnation>,
) -> Result<(), Attempt> {
    if let Some(slot) = scan.unreadable(me.slot).filter(|slot| !is_skipped(ctx, *slot)) {
        return Err(Attempt::End(AcquireOutcome::Unreadable(slot)));
    }
    match view.conflict(me, ctx.gone, source) {
        // Two that want at the same time both step back; the random back-off lets one through.
        Some((who, conflict @ Conflict::Want)) => Err(Attempt::Again(AcquireOutcome::Busy { who, conflict })),
        Some((who, conflict)) => Err(busy(who, conflict)),
        None => Ok(()),
    }
}

/// Only planted bugs skip an unreadable sector. Its generation is not known: the host counts as gone if any life of it is.
fn is_skipped(ctx: &LeaseContext<'_>, slot: Slot) -> bool {
    let life = |generation| Incarnation { slot, generation: Generation(generation) };
    let gone = || (1..100).any(|generation| (ctx.gone)(life(generation)));
    if planted!(GoneUnreadableSkipped) {
        return gone();
    }
    planted!(LiveUnreadableSkipped) && !gone()
}

/// A recovery goes on only if the top is recoverable, HA, and not on hold.
fn check_kind(
    ctx: &LeaseContext<'_>,
    view: &KeyView,
    kind: &AcquireKind,
    me: Incarnation,
) -> Result<(), Attempt> {
    let no = |why: &str| Err(Attempt::End(AcquireOutcome::NotRecoverable(why.to_owned())));
    let resumed = match kind {
        AcquireKind::Plain(_) => return Ok(()),
        AcquireKind::Incoming(_) => {
            return if source_of(ctx, view, kind).is_some() { Ok(()) } else { no(NO_SOURCE) };
        }
        AcquireKind::Retake => {
            let is_own = view.mine(me).is_some_and(|mine| mine.state == LeaseState::Own);
            return if is_own { Ok(()) } else { no("this host does not own it any more") };
        }
        AcquireKind::Restore(_) => {
            let is_own = view.top().is_some_and(|(who, top)| *who == me && top.state == LeaseState::Saved);
            return if is_own { Ok(()) } else { no(OLD_IMAGE) };
        }
        AcquireKind::Recovery { resumed } => resumed,
    };
    match view.top() {
        None => no("nobody has an entry of it"),
        Some((who, top)) if view.base(ctx.gone) != LeaseBase::Recoverable => Err(Attempt::End(
            AcquireOutcome::NotRecoverable(format!("host {who} has it as {}", top.state.as_str())),
        )),
        Some((_, top)) if !top.flags.contains(LeaseFlags::HA) => no("it is not an HA domain"),
        Some((_, top)) if top.flags.contains(LeaseFlags::HOLD) && *resumed != Some(top.term) => {
            no("it is on hold: see `leasefence ha resume`")
        }
        Some(_) => Ok(()),
    }
}

fn busy(who: Incarnation, conflict: Conflict) -> Attempt {
    Attempt::End(AcquireOutcome::Busy { who, conflict })
}

/// For the user who restores it.
const OLD_IMAGE: &str = "its saved image is not of its last run: discard it (`virsh managedsave-remove`), or start it with --force-boot";

/// For the user who migrates it.
const NO_SOURCE: &str = "no host that lives owns it: only a domain that its source runs under its lease may be migrated here, and none offline (`--offline`): define it here instead";
