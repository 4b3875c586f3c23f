//! The two questions that a block device answers by ioctl only.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), nix::libc::c_int);
nix::ioctl_read!(blkgetsize64, 0x12, 114, usize);

/// Size in bytes of an opened block device, and its logical sector size in bytes.
///
/// # Errors
/// The kernel's, and one for a device that names an impossible sector size.
pub fn block_device_size(file: &File) -> io::Result<(u64, u32)> {
    let (mut bytes, mut sector) = (0usize, 0i32);
    // SAFETY: the descriptor is open for the whole call, and BLKGETSIZE64 writes one u64 (size_t here).
    unsafe { blkgetsize64(file.as_raw_fd(), &raw mut bytes) }?;
    // SAFETY: the descriptor is open for the whole call, and BLKSSZGET writes one int.
    unsafe { blksszget(file.as_raw_fd(), &raw mut sector) }?;
    let impossible = || io::Error::other("the device names an impossible sector size");
    let sector = u32::try_from(sector).map_err(|_| impossible())?;
    if sector < 512 || !sector.is_power_of_two() {
        return Err(impossible());
    }
    Ok((u64::try_from(bytes).map_err(|_| io::Error::other("the device is too large"))?, sector))
}
