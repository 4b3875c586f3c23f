//! Libvirt's callbacks into this process. Beside `job`, the only place where its C interface is used directly.
//!
//! A callback runs on the event loop's thread, or on that of any call: it puts a word into a channel and returns.

use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use leasefence_core::ids::DomainId;
use virt::connect::Connect;
use virt::error::Error;
use virt_sys as sys;

use super::keeper::Word;
use super::words;
use crate::HypervisorEvent;

/// Where the callbacks of one session put what they are told.
#[derive(Debug)]
pub(super) struct Listener {
    /// Which session, so that the late word of an older one is not taken for this one's.
    session: u64,
    open: AtomicBool,
    events: Sender<HypervisorEvent>,
    keeper: Sender<Word>,
}

impl Listener {
    pub(super) fn new(session: u64, events: Sender<HypervisorEvent>, keeper: Sender<Word>) -> Self {
        Self { session, open: AtomicBool::new(false), events, keeper }
    }

    pub(super) fn session(&self) -> u64 {
        self.session
    }

    /// Lets events through. Before, the caller has not been told that libvirt is there.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Lets no more events through.
    pub(super) fn shut(&self) {
        self.open.store(false, Ordering::Release);
    }

    fn tell(&self, event: HypervisorEvent) {
        if self.open.load(Ordering::Acquire) {
            // Whoever dropped the receiver wants no events.
            let _nobody_listens = self.events.send(event);
        }
    }

    fn closed(&self, reason: c_int) {
        let why = words::close_reason(reason).to_owned();
        let _keeper_ended = self.keeper.send(Word::Lost { session: self.session, why });
    }
}

/// Asks to be told when the connection closes.
pub(super) fn register_close(connect: &Connect, listener: &Arc<Listener>) -> Result<(), Error> {
    let opaque = into_opaque(listener);
    // SAFETY: the connection is open; `opaque` is a leaked Arc of the type that `on_close` expects, and `release`
    // takes it back once libvirt has let go of it.
    let result = unsafe {
        sys::virConnectRegisterCloseCallback(connect.as_ptr(), Some(on_close), opaque, Some(release))
    };
    if result == 0 { Ok(()) } else { Err(take_back(opaque)) }
}

/// Subscribes to all events of all domains that may matter; returns the registrations.
pub(super) fn register_events(connect: &Connect, listener: &Arc<Listener>) -> Result<Vec<i32>, Error> {
    let subscriptions = [
        (sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, erase_lifecycle(on_lifecycle)),
        (sys::VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, erase_text(on_device)),
        (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, erase_text(on_device)),
        (sys::VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, erase_text_and_two(on_block_job)),
        (sys::VIR_DOMAIN_EVENT_ID_TRAY_CHANGE, erase_text_and_one(on_tray)),
        (sys::VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, erase_one_and_text(on_metadata)),
    ];
    subscriptions.into_iter().map(|(event, callback)| register(connect, listener, event, callback)).collect()
}

fn register(
    connect: &Connect,
    listener: &Arc<Listener>,
    event: sys::virDomainEventID,
    callback: Generic,
) -> Result<i32, Error> {
    let opaque = into_opaque(listener);
    let event = c_int::try_from(event).unwrap_or(c_int::MAX);
    // SAFETY: the connection is open; a null domain means all domains; `callback` has the signature that libvirt
    // documents for `event`; `opaque` is a leaked Arc of the type that it expects, taken back by `release`.
    let result = unsafe {
        sys::virConnectDomainEventRegisterAny(
            connect.as_ptr(),
            std::ptr::null_mut(),
            event,
            Some(callback),
            opaque,
            Some(release),
        )
    };
    if result >= 0 { Ok(result) } else { Err(take_back(opaque)) }
}

/// Ends all callbacks. On a dead connection libvirt reports errors, but forgets the callbacks all the same.
pub(super) fn deregister(connect: &Connect, registrations: &[i32]) {
    for registration in registrations {
        // SAFETY: the connection has not been closed yet, and the number came from registering on it.
        unsafe { sys::virConnectDomainEventDeregisterAny(connect.as_ptr(), *registration) };
    }
    // SAFETY: as above; libvirt answers an error when this callback is not registered.
    unsafe { sys::virConnectUnregisterCloseCallback(connect.as_ptr(), Some(on_close)) };
}

fn into_opaque(listener: &Arc<Listener>) -> *mut c_void {
    Arc::into_raw(Arc::clone(listener)).cast_mut().cast()
}

/// A registration failed: libvirt does not call `release` then.
fn take_back(opaque: *mut c_void) -> Error {
    let error = Error::last_error();
    // SAFETY: `opaque` came from `into_opaque` just now, and libvirt did not keep it.
    unsafe { release(opaque) };
    error
}

unsafe extern "C" fn release(opaque: *mut c_void) {
    // SAFETY: `opaque` came from `into_opaque`, and libvirt calls this once, when it will use it no more.
    drop(unsafe { Arc::from_raw(opaque.cast::<Listener>()) });
}

/// The listener behind a callback's opaque pointer, for as long as the callback runs.
///
/// # Safety
/// `opaque` must have come from `into_opaque`, and not have been released.
unsafe fn listener<'a>(opaque: *mut c_void) -> &'a Listener {
    // SAFETY: the caller's promise; libvirt releases it only after its last callback has returned.
    unsafe { &*opaque.cast::<Listener>() }
}

fn domain_id(domain: sys::virDomainPtr) -> Option<DomainId> {
    let mut uuid = [0; 16];
    // SAFETY: libvirt gives a valid domain for the time of the callback, and a uuid has 16 bytes.
    let result = unsafe { sys::virDomainGetUUID(domain, uuid.as_mut_ptr()) };
    (result == 0).then_some(DomainId(uuid))
}

fn tell(domain: sys::virDomainPtr, opaque: *mut c_void, event: impl FnOnce(DomainId) -> HypervisorEvent) {
    // SAFETY: called only by the callbacks below, with the pointer that libvirt was given for them.
    let listener = unsafe { listener(opaque) };
    if let Some(id) = domain_id(domain) {
        listener.tell(event(id));
    }
}

unsafe extern "C" fn on_close(_: sys::virConnectPtr, reason: c_int, opaque: *mut c_void) {
    // SAFETY: libvirt passes the pointer that it was given with this callback.
    unsafe { listener(opaque) }.closed(reason);
}

unsafe extern "C" fn on_lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    if let Some(make) = words::lifecycle(event, detail) {
        tell(domain, opaque, make);
    }
    0
}

unsafe extern "C" fn on_device(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _: *const c_char,
    opaque: *mut c_void,
) {
    tell(domain, opaque, HypervisorEvent::DefinitionChanged);
}

unsafe extern "C" fn on_block_job(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _: *const c_char,
    _: c_int,
    _: c_int,
    opaque: *mut c_void,
) {
    tell(domain, opaque, HypervisorEvent::DefinitionChanged);
}

unsafe extern "C" fn on_tray(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _: *const c_char,
    _: c_int,
    opaque: *mut c_void,
) {
    tell(domain, opaque, HypervisorEvent::DefinitionChanged);
}

unsafe extern "C" fn on_metadata(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _: c_int,
    _: *const c_char,
    opaque: *mut c_void,
) {
    tell(domain, opaque, HypervisorEvent::MetadataChanged);
}

/// The type under which libvirt takes every kind of event callback; it calls each with its own arguments.
type Generic = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void);

macro_rules! eraser {
    ($name:ident, fn($($argument:ty),*) $(-> $result:ty)?) => {
        fn $name(
            callback: unsafe extern "C" fn(
                sys::virConnectPtr, sys::virDomainPtr, $($argument,)* *mut c_void
            ) $(-> $result)?,
        ) -> Generic {
            // SAFETY: function pointers have one size, and libvirt casts it back to this type before it calls it.
            unsafe { std::mem::transmute(callback) }
        }
    };
}

eraser!(erase_lifecycle, fn(c_int, c_int) -> c_int);
eraser!(erase_text, fn(*const c_char));
eraser!(erase_text_and_one, fn(*const c_char, c_int));
eraser!(erase_text_and_two, fn(*const c_char, c_int, c_int));
eraser!(erase_one_and_text, fn(c_int, *const c_char));
