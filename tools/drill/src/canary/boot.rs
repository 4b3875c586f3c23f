//! The canary's software: one boot sector, assembled from the source below into this program. It needs nothing but a BIOS.
//!
//! ```text
//! sector  0   this program
//! sector  1   the head: the number of the life that began last, and what the counter was then
//! sector  2   the word STOP, written by the drill: the canary switches itself off
//! sector 16 + (life mod 64)   that life's counter, written nine times a second
//! ```
//!
//! A record is `LFCANARY`, life and counter (4 bytes each, little endian). Each life has a sector of its own, so that a copy that
//! lives on beside its successor shows.

use super::SECTOR;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    r#"
    .section .rodata.leasefence_canary, "a", @progbits
    .globl leasefence_canary_begin, leasefence_canary_end
    .code16
    .set DAP, 0x600                 # what the BIOS's extended disk calls are told
    .set DRIVE, 0x610
    .set LIFE, 0x614
    .set COUNTER, 0x618
    .set TICKS, 0x46c               # the BIOS counts 18.2 of them a second
    .set BUFFER, 0x7e00

leasefence_canary_begin:
    cli
    xorw    %ax, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %ss
    movw    $0x7c00, %sp
    cld
    sti
    movb    %dl, DRIVE
    movl    $0x00007e00, DAP + 4    # one sector, to and from BUFFER
    movl    $0, DAP + 12

    movl    $1, %eax                # which life is this?
    movb    $0x42, %bl
    call    4f
    movl    BUFFER + 8, %eax
    movl    %eax, LIFE
    call    3f                      # where had the one before it come to?
    movb    $0x42, %bl
    call    4f
    movl    BUFFER + 12, %eax
    movl    %eax, COUNTER
    incl    LIFE
    call    2f                      # its claim
    movl    $1, %eax
    movb    $0x43, %bl
    call    4f

1:  incl    COUNTER
    call    2f
    call    3f
    movb    $0x43, %bl
    call    4f
    movl    $2, %eax
    movb    $0x42, %bl
    call    4f
    cmpl    $0x504f5453, BUFFER     # "STOP"
    je      6f
    movw    TICKS, %cx
    addw    $2, %cx
9:  hlt
    movw    TICKS, %ax
    subw    %cx, %ax
    js      9b
    jmp     1b

2:  movl    $0x4143464c, BUFFER     # makes a record: "LFCA", "NARY", life, counter
    movl    $0x5952414e, BUFFER + 4
    movl    LIFE, %eax
    movl    %eax, BUFFER + 8
    movl    COUNTER, %eax
    movl    %eax, BUFFER + 12
    ret

3:  movl    LIFE, %eax              # this life's sector
    andl    $63, %eax
    addl    $16, %eax
    ret

4:  movl    %eax, DAP + 8           # sector %eax: %bl 0x42 reads, 0x43 writes; again until it is done
5:  movl    $0x00010010, DAP        # the BIOS may have changed the count
    movb    %bl, %ah
    movb    $0, %al
    movw    $DAP, %si
    movb    DRIVE, %dl
    int     $0x13
    jc      5b
    ret

6:  movw    $0x5301, %ax            # power off, by APM
    xorw    %bx, %bx
    int     $0x15
    movw    $0x530e, %ax
    xorw    %bx, %bx
    movw    $0x0102, %cx
    int     $0x15
    movw    $0x5307, %ax
    movw    $1, %bx
    movw    $3, %cx
    int     $0x15
7:  hlt
    jmp     7b
leasefence_canary_end:
    .code64
    .text
"#,
    options(att_syntax)
);

/// The boot sector; none where this program was not built for the only processor that it can run on.
#[must_use]
pub fn boot_sector() -> Option<[u8; SECTOR]> {
    let program = program()?;
    let mut sector = [0; SECTOR];
    // Beyond this a BIOS may look for a table of partitions.
    sector.get_mut(..446)?.get_mut(..program.len())?.copy_from_slice(program);
    sector[SECTOR - 2..].copy_from_slice(&[0x55, 0xaa]);
    Some(sector)
}

#[cfg(target_arch = "x86_64")]
fn program() -> Option<&'static [u8]> {
    // SAFETY: both symbols are defined by the assembly above.
    unsafe extern "C" {
        #[link_name = "leasefence_canary_begin"]
        static BEGIN: u8;
        #[link_name = "leasefence_canary_end"]
        static END: u8;
    }
    let (begin, end) = (&raw const BEGIN, &raw const END);
    let len = end.addr().checked_sub(begin.addr())?;
    // SAFETY: the assembly above lays `len` bytes between the two symbols, in a section that nothing writes.
    Some(unsafe { core::slice::from_raw_parts(begin, len) })
}

#[cfg(not(target_arch = "x86_64"))]
fn program() -> Option<&'static [u8]> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits_into_a_boot_sector_and_is_signed_as_one() {
        let sector = boot_sector().expect("tests run on x86_64");
        assert_eq!(&sector[SECTOR - 2..], [0x55, 0xaa]);
        assert_eq!(sector[0], 0xfa, "it begins with cli");
        assert!(sector[440..SECTOR - 2].iter().all(|byte| *byte == 0));
    }
}
