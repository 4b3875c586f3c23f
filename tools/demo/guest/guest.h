/* What the guest's three files share. The image is read-only, so what changes lives at fixed addresses of memory. */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

enum { SECTOR = 512, BLOCK = 4096, TICK_MS = 10 };

#define TICKS (*(volatile u32 *)0x1000) /* also in start.S */
#define INTERRUPTS ((u32 *)0x2000)
#define HOST ((char *)0x3000) /* the host's name */
#define BOOT ((char *)0x3100) /* this start's random number */
#define NOW ((char *)0x3200)  /* the time of day, as text */
#define DISK ((struct disk *)0x3300)
#define REQUESTS ((struct request *)0x4000)
#define RING ((char *)0x10000)    /* 64 KiB, shared with the disk's controller */
#define PAGES ((char *)0x20000)   /* what is about to be written: a block each */
#define CLAIMS ((char *)0x100000) /* all claims, as they are on the disk: at most 1 MiB */
#define REGION ((char *)0x200000) /* the predecessor's region: 512 KiB */

/* ---- machine.c: time, text, and what the host says ---- */

void machine_start(void);
void sleep_until(u32 tick);
void read_clock(void);
void serial(const char *text);
/* Reads the first word of a file that the host hands to QEMU ("fw_cfg"), at most `room` - 1 characters; "?" if there is none. */
void host_file(const char *name, char *to, u32 room);

static inline void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out16(u16 port, u16 value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
static inline u8 in8(u16 port)
{
    u8 value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline u16 in16(u16 port)
{
    u16 value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline u32 in32(u16 port)
{
    u32 value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void clear(void *at, u32 bytes)
{
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(bytes) : "a"(0) : "memory");
}
static inline void copy(void *to, const void *from, u32 bytes)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

char *append(char *to, const char *text);
char *append_number(char *to, u32 number);
/* What follows the word `key` and a blank in a text; an empty text if it is not there. */
const char *after(const char *text, const char *key);
u32 number(const char *digits);

/* ---- virtio.c: the disk ---- */

enum { READ = 0, WRITE = 1, MOST_REQUESTS = 16 };

/* Finds the disk, and returns its size in blocks. Does not return while there is none. */
u32 disk_open(void);
/* Sets up request `slot`, from 0 to MOST_REQUESTS - 1. */
void disk_prepare(u32 slot, u32 direction, u32 block, char *memory, u32 blocks);
/* Hands requests 0 to `count` - 1 to the disk at once, and waits until all are done. One that fails is given again. */
void disk_run(u32 count);
