//! The calls of the kernel's device mapper (`include/uapi/linux/dm-ioctl.h`), of version 4.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

const CONTROL: &str = "/dev/mapper/control";
/// The least version that the kernel must speak: these calls are older.
const VERSION: [u32; 3] = [4, 0, 0];

/// `struct dm_ioctl`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    dev: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
}

/// What goes to a target of a device: `struct dm_target_msg`, its words behind it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Message {
    header: Header,
    sector: u64,
    words: [u8; 24],
}

nix::ioctl_readwrite!(remove_device, 0xfd, 4, Header);
// The kernel takes the size from the header, and knows the call by that of the header alone.
nix::ioctl_readwrite!(message_target, 0xfd, 14, Header);

/// Removes the mapped device with this identity. The kernel does it only once nothing has the device open, which whoever waits
/// for a request of it still has; dirty pages of it have been written or given up when the last one closed it.
///
/// # Errors
/// `EBUSY` while something has it open; else what the kernel says. One that is not there is removed.
pub(super) fn remove(uuid: &str) -> io::Result<()> {
    let control = File::open(CONTROL)?;
    let mut header = header(uuid, size_of::<Header>())?;
    // SAFETY: the header says its own size, and lives as long as the call.
    match unsafe { remove_device(control.as_raw_fd(), &raw mut header) } {
        Ok(_) | Err(Errno::ENXIO) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Has a multipath device fail what it keeps, and whatever comes, while it has no path.
///
/// # Errors
/// What the kernel says.
pub(super) fn fail_if_no_path(uuid: &str) -> io::Result<()> {
    let control = File::open(CONTROL)?;
    let mut words = [0; 24];
    for (to, from) in words.iter_mut().zip(b"fail_if_no_path") {
        *to = *from;
    }
    let mut message = Message { header: header(uuid, size_of::<Message>())?, sector: 0, words };
    message.header.data_start = u32::try_from(size_of::<Header>()).map_err(io::Error::other)?;
    // SAFETY: the header says the size of the whole message, which begins with it and lives as long as the call.
    unsafe { message_target(control.as_raw_fd(), (&raw mut message).cast()) }?;
    Ok(())
}

fn header(uuid: &str, size: usize) -> io::Result<Header> {
    let mut field = [0; 129];
    // The last byte ends it.
    let room = field.get_mut(..uuid.len()).filter(|room| room.len() < 129);
    room.ok_or_else(|| io::Error::other("its identity is too long"))?.copy_from_slice(uuid.as_bytes());
    Ok(Header {
        version: VERSION,
        data_size: u32::try_from(size).map_err(io::Error::other)?,
        data_start: 0,
        target_count: 0,
        open_count: 0,
        flags: 0,
        event_nr: 0,
        padding: 0,
        dev: 0,
        name: [0; 128],
        uuid: field,
        data: [0; 7],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_structures_have_their_sizes() {
        // The call's number carries the header's: 0xc138fd04 and 0xc138fd0e.
        assert_eq!(size_of::<Header>(), 312);
        assert_eq!(size_of::<Message>(), 312 + 8 + 24);
        assert_eq!(std::mem::offset_of!(Header, uuid), 176);
    }

    #[test]
    fn an_identity_that_has_no_room_is_refused_and_the_longest_that_has_is_ended() {
        assert!(header(&"x".repeat(129), 312).is_err());
        let longest = header(&"x".repeat(128), 312).expect("room");
        assert_eq!((longest.uuid[127], longest.uuid[128]), (b'x', 0));
    }
}
