/* The machine below the guest: its timer, its clock, its serial port, and the files that the host hands to QEMU. */

#include "guest.h"

void on_timer(void);

/* ---- text ---- */

void serial(const char *text)
{
    while (*text)
        out8(0x3f8, (u8)*text++);
}

char *append(char *to, const char *text)
{
    while (*text)
        *to++ = *text++;
    *to = 0;
    return to;
}

char *append_number(char *to, u32 number)
{
    char digits[10];
    int count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    while (count > 0)
        *to++ = digits[--count];
    *to = 0;
    return to;
}

const char *after(const char *text, const char *key)
{
    for (char before = ' '; *text; before = *text++) {
        const char *k = key;
        const char *p = text;
        while (*k && *k == *p)
            k++, p++;
        if (before == ' ' && !*k && *p == ' ')
            return p + 1;
    }
    return text;
}

u32 number(const char *digits)
{
    u32 number = 0;
    while (*digits >= '0' && *digits <= '9')
        number = number * 10 + (u32)(*digits++ - '0');
    return number;
}

/* ---- the host's files ---- */

enum { FW_SELECT = 0x510, FW_DATA = 0x511, FW_DIRECTORY = 0x19 };

static u32 fw_big_endian(int bytes)
{
    u32 value = 0;
    while (bytes-- > 0)
        value = value << 8 | in8(FW_DATA);
    return value;
}

static int equal(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static void fw_word(u16 selector, u32 size, char *to, u32 room)
{
    u32 length = 0;
    out16(FW_SELECT, selector);
    while (length < size && length < room - 1) {
        char c = (char)in8(FW_DATA);
        if (c <= ' ')
            break;
        to[length++] = c;
    }
    to[length] = 0;
}

void host_file(const char *wanted, char *to, u32 room)
{
    append(to, "?");
    out16(FW_SELECT, FW_DIRECTORY);
    for (u32 files = fw_big_endian(4); files > 0; files--) {
        u32 size = fw_big_endian(4);
        u16 selector = (u16)fw_big_endian(2);
        char name[56];
        fw_big_endian(2);
        for (u32 i = 0; i < sizeof name; i++)
            name[i] = (char)in8(FW_DATA);
        if (equal(name, wanted)) {
            fw_word(selector, size, to, room);
            return;
        }
    }
}

/* ---- time that passes: the processor's own timer, 100 interrupts a second ---- */

static void apic_write(u32 reg, u32 value) { *(volatile u32 *)(0xfee00000 + reg) = value; }

void machine_start(void)
{
    const u32 vector = 0x20;
    struct __attribute__((packed)) {
        u16 limit;
        u32 base;
    } table = {256 * 8 - 1, (u32)INTERRUPTS};

    clear(INTERRUPTS, 256 * 8);
    INTERRUPTS[2 * vector] = 0x08u << 16 | ((u32)on_timer & 0xffff);
    INTERRUPTS[2 * vector + 1] = ((u32)on_timer & 0xffff0000) | 0x8e00;
    __asm__ volatile("lidt %0" : : "m"(table));

    out8(0x21, 0xff); /* the old interrupt controllers stay silent */
    out8(0xa1, 0xff);
    apic_write(0x0f0, 0x1ff);            /* on; spurious interrupts go to vector 255, which never comes */
    apic_write(0x3e0, 0xb);              /* divide by one: QEMU's counts nanoseconds */
    apic_write(0x320, 1u << 17 | vector); /* periodic */
    TICKS = 0;
    apic_write(0x380, TICK_MS * 1000000u);
    __asm__ volatile("sti");
}

void sleep_until(u32 tick)
{
    while ((int)(tick - TICKS) > 0)
        __asm__ volatile("hlt");
}

/* ---- time of day: the host's, through the battery-backed clock, in UTC ---- */

enum { CLOCK_INDEX = 0x70, CLOCK_DATA = 0x71, CLOCK_STATUS = 0x0a, UPDATING = 0x80 };

static u8 clock_register(u8 index)
{
    out8(CLOCK_INDEX, index);
    return in8(CLOCK_DATA);
}

/* "2026-11-26T04:49:10Z". The clock keeps each pair of digits in one byte, ten's digit first. */
void read_clock(void)
{
    static const struct {
        u8 index;
        char then;
    } parts[] = {{0x32, 0}, {9, '-'}, {8, '-'}, {7, 'T'}, {4, ':'}, {2, ':'}, {0, 'Z'}};
    char *to;
    u8 second;
    do {
        while (clock_register(CLOCK_STATUS) & UPDATING)
            ;
        second = clock_register(0);
        to = NOW;
        for (u32 i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            u8 digits = clock_register(parts[i].index);
            *to++ = (char)('0' + (digits >> 4));
            *to++ = (char)('0' + (digits & 15));
            if (parts[i].then)
                *to++ = parts[i].then;
        }
        *to = 0;
    } while (clock_register(0) != second);
}
