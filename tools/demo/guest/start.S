# How the guest comes alive: the processor starts in 16-bit mode at the reset vector, 16 bytes below 4 GiB. The image is
# mapped so that it ends there. Two steps lead to C: load flat 32-bit segments, switch to protected mode.

        .set    STACK_TOP, 0x90000
        .set    TICKS, 0x1000           # the same address as in guest.c
        .set    APIC_EOI, 0xfee000b0

        .section .reset, "ax"
        .code16
reset:  .byte   0xe9                    # a near jump: 16 bits are all that is needed inside the last 64 KiB
        .word   real_mode - (reset + 3)
        .fill   13, 1, 0x90

        .section .entry, "ax"
        .code16
        .globl  real_mode
real_mode:
        cli
        lgdtl   %cs:gdt_pointer_offset
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $0x08, $protected_mode

        .code32
protected_mode:
        movl    $0x10, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $STACK_TOP, %esp
        call    guest_main
halt:   hlt
        jmp     halt

# The timer's interrupt: counts, acknowledges, returns.
        .globl  on_timer
on_timer:
        incl    TICKS
        movl    $0, APIC_EOI
        iret

        .balign 8
gdt:    .quad   0
        .quad   0x00cf9a000000ffff      # 0x08: code, 0 to 4 GiB
        .quad   0x00cf92000000ffff      # 0x10: data, 0 to 4 GiB
        .globl  gdt_pointer
gdt_pointer:
        .word   . - gdt - 1
        .long   gdt

        .section .note.GNU-stack, "", @progbits
