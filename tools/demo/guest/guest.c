/* The whole software of the demo's virtual machine: firmware, operating system and application in one 64 KiB ROM, so
 * that a start takes milliseconds, not a kernel's boot. It does what a database would: it takes its disk for its own
 * and writes ten times a second. It trusts that nobody else does. The disk's log shows whether that was true.
 *
 * Disk, in sectors of 512 bytes, one line of text each:
 *   0        the latest record, whoever wrote it
 *   1 ...    all records, the one at `position` in sector 1 + position % (sectors - 1)
 *
 *   position 123 generation 3 boot 5f1c09aa host host-2 counter 17 uptime_ms 1720
 *
 * A start takes the generation after the last one on the disk. Two copies that start at once take the same one: the
 * random number `boot`, drawn by the host for each start, tells them apart. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

enum { SECTOR = 512, TICK_MS = 10, PERIOD_TICKS = 10 };

/* The image is read-only, so what changes lives at fixed addresses in the first 640 KiB of memory. */
#define TICKS (*(volatile u32 *)0x1000) /* also in start.S */
#define INTERRUPTS ((u32 *)0x2000)
#define HOST ((char *)0x3000)
#define BOOT ((char *)0x3100)
#define LATEST ((char *)0x4000) /* the disk's latest record */
#define MINE ((char *)0x5000)   /* the record to be written */

void on_timer(void);

static inline void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out16(u16 port, u16 value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static inline u8 in8(u16 port)
{
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

/* ---- text ---- */

static void serial(const char *text)
{
    while (*text)
        out8(0x3f8, (u8)*text++);
}

static char *append(char *to, const char *text)
{
    while (*text)
        *to++ = *text++;
    return to;
}

static char *append_number(char *to, u32 number)
{
    char digits[10];
    int count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    while (count > 0)
        *to++ = digits[--count];
    return to;
}

/* The number after `key` in a record; 0 if there is none, as on an empty disk. */
static u32 field(const char *record, const char *key)
{
    for (const char *at = record; at < record + SECTOR && *at; at++) {
        const char *k = key;
        const char *p = at;
        while (*k && *k == *p)
            k++, p++;
        if (*k || *p != ' ')
            continue;
        u32 number = 0;
        for (p++; *p >= '0' && *p <= '9'; p++)
            number = number * 10 + (u32)(*p - '0');
        return number;
    }
    return 0;
}

/* ---- who am I: files that the host hands to QEMU ("fw_cfg") ---- */

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

/* Reads the first word of the file into `to`, at most `room` - 1 characters; leaves "?" if there is no such file. */
static void fw_file(const char *wanted, char *to, u32 room)
{
    append(to, "?")[0] = 0;
    out16(FW_SELECT, FW_DIRECTORY);
    for (u32 files = fw_big_endian(4); files > 0; files--) {
        u32 size = fw_big_endian(4);
        u16 selector = (u16)fw_big_endian(2);
        char name[56];
        fw_big_endian(2);
        for (u32 i = 0; i < sizeof name; i++)
            name[i] = (char)in8(FW_DATA);
        if (!equal(name, wanted))
            continue;
        out16(FW_SELECT, selector);
        u32 length = 0;
        while (length < size && length < room - 1) {
            char c = (char)in8(FW_DATA);
            if (c <= ' ')
                break;
            to[length++] = c;
        }
        to[length] = 0;
        return;
    }
}

/* ---- time: the processor's own timer, 100 interrupts a second ---- */

static void apic_write(u32 reg, u32 value) { *(volatile u32 *)(0xfee00000 + reg) = value; }

static void start_timer(void)
{
    const u32 vector = 0x20;
    struct __attribute__((packed)) {
        u16 limit;
        u32 base;
    } table = {256 * 8 - 1, (u32)INTERRUPTS};

    for (int i = 0; i < 512; i++)
        INTERRUPTS[i] = 0;
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

static void sleep_until(u32 tick)
{
    while ((int)(tick - TICKS) > 0)
        __asm__ volatile("hlt");
}

/* ---- the disk: first IDE drive, programmed I/O, one sector at a time ---- */

enum { IDE = 0x1f0, IDENTIFY = 0xec, READ = 0x20, WRITE = 0x30, FLUSH = 0xe7, BUSY = 0x80, READY = 0x40, DATA = 0x08, FAILED = 0x21 };

/* True once the drive shows `want`; false if it reports an error. */
static int ide_wait(u8 want)
{
    for (;;) {
        u8 status = in8(IDE + 7);
        if (status & BUSY)
            continue;
        if (status & FAILED)
            return 0;
        if ((status & want) == want)
            return 1;
    }
}

static void ide_command(u32 sector, u8 command)
{
    while (in8(IDE + 7) & BUSY)
        ;
    out8(IDE + 6, (u8)(0xe0 | (sector >> 24 & 0x0f)));
    out8(IDE + 2, 1);
    out8(IDE + 3, (u8)sector);
    out8(IDE + 4, (u8)(sector >> 8));
    out8(IDE + 5, (u8)(sector >> 16));
    out8(IDE + 7, command);
}

static int ide_in(u32 sector, u8 command, void *to)
{
    u32 words = SECTOR / 2;
    ide_command(sector, command);
    if (!ide_wait(DATA))
        return 0;
    __asm__ volatile("rep insw" : "+D"(to), "+c"(words) : "d"(IDE) : "memory");
    return 1;
}

static int ide_write(u32 sector, const void *from)
{
    u32 words = SECTOR / 2;
    ide_command(sector, WRITE);
    if (!ide_wait(DATA))
        return 0;
    __asm__ volatile("rep outsw" : "+S"(from), "+c"(words) : "d"(IDE) : "memory");
    return ide_wait(READY);
}

static int ide_flush(void)
{
    ide_command(0, FLUSH);
    return ide_wait(READY);
}

/* ---- the application ---- */

static u32 ring_sector(u32 position, u32 sectors) { return 1 + position % (sectors - 1); }

/* Reads the latest record. A writer that died between the ring and sector 0 left one that is one newer. */
static int read_latest(u32 sectors)
{
    if (!ide_in(0, READ, LATEST))
        return 0;
    u32 next = field(LATEST, "position") + 1;
    if (!ide_in(ring_sector(next, sectors), READ, MINE))
        return 0;
    if (field(MINE, "position") == next)
        for (int i = 0; i < SECTOR; i++)
            LATEST[i] = MINE[i];
    return 1;
}

static void compose(u32 position, u32 generation, u32 counter)
{
    char *end;
    for (int i = 0; i < SECTOR; i++)
        MINE[i] = 0;
    end = append_number(append(MINE, "position "), position);
    end = append_number(append(end, " generation "), generation);
    end = append(append(end, " boot "), BOOT);
    end = append(append(end, " host "), HOST);
    end = append_number(append(end, " counter "), counter);
    end = append_number(append(end, " uptime_ms "), TICKS * TICK_MS);
    append(end, "\n");
}

static int write_record(u32 position, u32 sectors)
{
    return ide_write(ring_sector(position, sectors), MINE) && ide_write(0, MINE) && ide_flush();
}

static u32 disk_sectors(void)
{
    while (!ide_in(0, IDENTIFY, LATEST)) {
        serial("no disk\n");
        sleep_until(TICKS + 100);
    }
    return *(u32 *)(LATEST + 120); /* words 60 and 61 */
}

void guest_main(void)
{
    u32 sectors, generation, next_tick;

    start_timer();
    fw_file("opt/leasefence/host", HOST, 64);
    fw_file("opt/leasefence/boot", BOOT, 9);
    sectors = disk_sectors();
    while (!read_latest(sectors))
        sleep_until(TICKS + PERIOD_TICKS);
    generation = field(LATEST, "generation") + 1;
    serial("started after: ");
    serial(LATEST[0] ? LATEST : "an empty disk\n");

    next_tick = TICKS;
    for (u32 counter = 1;; sleep_until(next_tick += PERIOD_TICKS)) {
        if (!read_latest(sectors)) {
            serial("read error\n");
            continue;
        }
        compose(field(LATEST, "position") + 1, generation, counter);
        if (!write_record(field(LATEST, "position") + 1, sectors)) {
            serial("write error\n");
            continue;
        }
        serial(MINE);
        counter++;
    }
}
