/* The disk: virtio's block device over its legacy interface, in I/O ports, which QEMU gives a virtio disk on bus 0 of
 * both `pc` and `q35`. See "Virtual I/O Device (VIRTIO)" 1.1, sections 2.6 (split virtqueues), 4.1.4.8 and 5.2 (legacy).
 *
 * The queue takes all requests of a run at once: sixteen writes are in flight together, as IDE could not have them. The
 * feature FLUSH is not taken, so that QEMU makes each write durable before it says that it is done. */

#include "guest.h"

enum { PCI_ADDRESS = 0xcf8, PCI_DATA = 0xcfc, VIRTIO_BLOCK = 0x10011af4, VIRTIO_BLOCK_MODERN = 0x10421af4, PORTS = 0xc000 };
enum { FEATURES = 4, QUEUE_PAGE = 8, QUEUE_SIZE = 12, QUEUE_SELECT = 14, QUEUE_NOTIFY = 16, STATUS = 18, CAPACITY = 20 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4 };
enum { NEXT = 1, DEVICE_WRITES = 2, NO_INTERRUPT = 1, RETRY_TICKS = 10 };
enum { DONE = 0, PENDING = 0xff };

struct descriptor {
    u32 address, address_high, length;
    u16 flags, next;
};

/* A request in the device's own form: this header, the data, one byte of status. */
struct request {
    u32 type, priority, sector, sector_high;
    volatile u8 status;
    u8 padding[15];
};

struct disk {
    u16 size;                    /* of the queue, in descriptors */
    u16 given;                   /* requests given to the device so far */
    volatile u16 *available;     /* flags, index, ring */
    volatile u16 *used;          /* flags, index, ring */
};

static u32 pci_address(u32 device, u32 function, u32 reg) { return 1u << 31 | device << 11 | function << 8 | reg; }

static u32 pci_read(u32 device, u32 function, u32 reg)
{
    out32(PCI_ADDRESS, pci_address(device, function, reg));
    return in32(PCI_DATA);
}

static void pci_write(u32 device, u32 function, u32 reg, u32 value)
{
    out32(PCI_ADDRESS, pci_address(device, function, reg));
    out32(PCI_DATA, value);
}

/* There is no firmware that would have given the device its ports: they are given here. */
static int find_device(void)
{
    for (u32 at = 0; at < 32 * 8; at++) {
        u32 id = pci_read(at / 8, at % 8, 0);
        if (id == VIRTIO_BLOCK_MODERN)
            serial("the disk has no legacy interface: put it on bus 0, not behind a bridge\n");
        if (id != VIRTIO_BLOCK)
            continue;
        pci_write(at / 8, at % 8, 0x10, PORTS);
        pci_write(at / 8, at % 8, 0x04, 5); /* may answer to ports, may access memory */
        return 1;
    }
    return 0;
}

static void open_queue(void)
{
    u32 size;
    out16(PORTS + QUEUE_SELECT, 0);
    size = in16(PORTS + QUEUE_SIZE);
    clear(RING, 0x10000);
    DISK->size = (u16)size;
    DISK->given = 0;
    DISK->available = (volatile u16 *)(RING + 16 * size);
    DISK->used = (volatile u16 *)(RING + ((16 * size + 6 + 2 * size + BLOCK - 1) & ~(BLOCK - 1u)));
    DISK->available[0] = NO_INTERRUPT;
    out32(PORTS + QUEUE_PAGE, (u32)RING / BLOCK);
}

u32 disk_open(void)
{
    while (!find_device()) {
        serial("no disk\n");
        sleep_until(TICKS + 100);
    }
    out8(PORTS + STATUS, 0);
    out8(PORTS + STATUS, ACKNOWLEDGE);
    out8(PORTS + STATUS, ACKNOWLEDGE | DRIVER);
    out32(PORTS + FEATURES, 0);
    open_queue();
    out8(PORTS + STATUS, ACKNOWLEDGE | DRIVER | DRIVER_OK);
    if (in32(PORTS + CAPACITY + 4))
        return ~0u / (BLOCK / SECTOR);
    return in32(PORTS + CAPACITY) / (BLOCK / SECTOR);
}

static void describe(u32 index, void *memory, u32 length, u16 flags)
{
    struct descriptor *descriptor = (struct descriptor *)RING + index;
    descriptor->address = (u32)memory;
    descriptor->address_high = 0;
    descriptor->length = length;
    descriptor->flags = flags;
    descriptor->next = (u16)(flags & NEXT ? index + 1 : 0);
}

void disk_prepare(u32 slot, u32 direction, u32 block, char *memory, u32 blocks)
{
    struct request *request = REQUESTS + slot;
    request->type = direction;
    request->priority = 0;
    request->sector = block * (BLOCK / SECTOR);
    request->sector_high = block >> 29;
    request->status = PENDING;
    describe(3 * slot, request, 16, NEXT);
    describe(3 * slot + 1, memory, blocks * BLOCK, (u16)(direction == READ ? NEXT | DEVICE_WRITES : NEXT));
    describe(3 * slot + 2, (void *)&request->status, 1, DEVICE_WRITES);
}

/* Gives the device all requests that are not done, and waits until it has handed back as many. */
static void give(u32 count)
{
    for (u32 slot = 0; slot < count; slot++) {
        if (REQUESTS[slot].status == DONE)
            continue;
        REQUESTS[slot].status = PENDING;
        DISK->available[2 + DISK->given % DISK->size] = (u16)(3 * slot);
        DISK->given++;
    }
    __asm__ volatile("" : : : "memory");
    DISK->available[1] = DISK->given;
    __asm__ volatile("" : : : "memory");
    out16(PORTS + QUEUE_NOTIFY, 0);
    while (DISK->used[1] != DISK->given)
        __asm__ volatile("hlt" : : : "memory");
}

void disk_run(u32 count)
{
    for (;;) {
        u32 failed = 0;
        give(count);
        for (u32 slot = 0; slot < count; slot++)
            failed += REQUESTS[slot].status != DONE;
        if (!failed)
            return;
        serial("the disk refuses; trying again\n");
        sleep_until(TICKS + RETRY_TICKS);
    }
}
