/* The whole software of the demo's virtual machine: firmware, operating system and application in one 64 KiB ROM, so
 * that a start takes milliseconds, not a kernel's boot. It does what a database would: it takes its disk for its own,
 * takes over what an earlier life of it has left there, and writes ten bursts a second, sixteen writes in flight at once.
 * It trusts that nobody else writes. The disk shows afterwards whether that was true, for ever: that is what its layout
 * is for. `src/record.rs` has the argument; `src/checker.rs` judges by it.
 *
 * Disk, in blocks of 4 KiB. (QEMU turns smaller writes into read-modify-write where it cannot find out the storage's
 * alignment, as on NFS, one at a time.) With `n` = blocks / 129, but at most 256:
 *
 *   0 ... n - 1        claims, one a life: written once, as it begins
 *   n + 128 r ...      region of the life that has claim r: 8 lanes of 16 blocks
 *
 *   lane   0      1   2 3 4 ... 14   15      record number c (from 1) is in lane (c - 1) % 8 of burst (c - 1) / 8,
 *          table  -   journal        -       and is written twice: as the lane's page of the table, which the next burst
 *                                            writes over, and into row burst % 13 of the journal
 *
 * No two blocks of a burst are neighbours, or QEMU would make one write of them. A block holds one line of text, the
 * same in each of its eight sectors, and zeros:
 *
 *   write generation 4 boot 5f1c09aa host host-2 counter 17 uptime_ms 1720 at 2026-11-26T04:49:10Z
 *   claim generation 4 boot 5f1c09aa host host-2 counter 0 uptime_ms 30 at 2026-11-26T04:49:08Z after 0b77e1d2 saw 57 without 55 56
 *   seal generation 4 boot 5f1c09aa host host-2 counter 0 uptime_ms 20 at 2026-11-26T04:49:08Z after 0b77e1d2
 *
 * A life begins in this order, each step done before the next:
 *   1. read all claims; the predecessor is the life of the highest generation, and one more is mine;
 *   2. seal the predecessor's table: write over all its pages;
 *   3. read the predecessor's journal;
 *   4. claim: say once what was seen in it, the last record and which of its burst are missing;
 *   5. write.
 * Two copies that start at once take the same generation: `boot`, drawn by the host for each start, tells them apart. */

#include "guest.h"

enum { LANES = 8, LANE_BLOCKS = 16, JOURNAL = 2, ROWS = 13, REGION_BLOCKS = LANES * LANE_BLOCKS, MOST_LIVES = 256 };
enum { PERIOD_TICKS = 10, HOST_CLASSES = 4, NOBODY = ~0 };

_Static_assert(2 * LANES == MOST_REQUESTS, "a burst is as many writes as the disk takes at once");

static char *page(u32 lane) { return PAGES + lane * BLOCK; }

static char *claim_text(u32 life) { return CLAIMS + life * BLOCK; }

static u32 generation_of(u32 life) { return life == (u32)NOBODY ? 0 : number(after(claim_text(life), "generation")); }

static u32 table_block(u32 lives, u32 life, u32 lane) { return lives + life * REGION_BLOCKS + lane * LANE_BLOCKS; }

/* Puts a line into a block, as far as all lines are alike; returns its end. */
static char *compose(char *block, const char *deed, u32 generation, u32 counter)
{
    char *end;
    clear(block, BLOCK);
    end = append_number(append(append(block, deed), " generation "), generation);
    end = append(append(end, " boot "), BOOT);
    end = append(append(end, " host "), HOST);
    end = append_number(append(end, " counter "), counter);
    end = append_number(append(end, " uptime_ms "), TICKS * TICK_MS);
    return append(append(end, " at "), NOW);
}

/* Ends the line, and repeats it in each sector: a torn write shows as sectors that differ. */
static void finish(char *block, char *end)
{
    append(end, "\n");
    for (u32 at = SECTOR; at < BLOCK; at += SECTOR)
        copy(block + at, block, SECTOR);
}

/* The life of the highest generation. */
static u32 find_predecessor(u32 lives)
{
    u32 latest = (u32)NOBODY;
    for (u32 life = 0; life < lives; life++)
        if (generation_of(life) > generation_of(latest))
            latest = life;
    return latest;
}

/* A free claim, drawn by chance. The hosts draw from different ones, if their names differ in the last letter by less
 * than four: two copies that start at once on two of them never write to the same region. */
static u32 draw_claim(u32 lives)
{
    u32 host = 0, chance = 0;
    for (const char *c = HOST; *c; c++)
        host += (u8)*c;
    for (const char *c = BOOT; *c; c++)
        chance = chance * 31 + (u8)*c;
    for (u32 tries = 0; tries < lives; tries++) {
        u32 life = (chance + tries) % lives;
        if (life % HOST_CLASSES == host % HOST_CLASSES && !claim_text(life)[0])
            return life;
    }
    serial("the disk has no room for another life\n");
    for (;;)
        sleep_until(TICKS + 100);
}

static char *append_predecessor(char *end, u32 predecessor)
{
    const char *boot = predecessor == (u32)NOBODY ? "none " : after(claim_text(predecessor), "boot");
    end = append(end, " after ");
    while (*boot && *boot != ' ')
        *end++ = *boot++;
    *end = 0;
    return end;
}

static void seal(u32 lives, u32 predecessor, u32 generation)
{
    finish(page(0), append_predecessor(compose(page(0), "seal", generation, 0), predecessor));
    for (u32 lane = 0; lane < LANES; lane++)
        disk_prepare(lane, WRITE, table_block(lives, predecessor, lane), page(0), 1);
    disk_run(LANES);
}

/* The counter in the predecessor's journal; 0 where nothing was written. */
static u32 seen(u32 lane, u32 row) { return number(after(REGION + (lane * LANE_BLOCKS + JOURNAL + row) * BLOCK, "counter")); }

/* The last record of the predecessor that has reached its journal. */
static u32 last_seen(void)
{
    u32 last = 0;
    for (u32 lane = 0; lane < LANES; lane++)
        for (u32 row = 0; row < ROWS; row++)
            if (seen(lane, row) > last)
                last = seen(lane, row);
    return last;
}

/* Says which record was the last, and which of its burst had not come by then. Earlier bursts were complete before it began. */
static char *append_sight(char *end)
{
    u32 last = last_seen();
    const char *word = " without ";
    end = append_number(append(end, " saw "), last);
    for (u32 counter = last - (last ? (last - 1) % LANES : 0); counter < last; counter++)
        if (seen((counter - 1) % LANES, (counter - 1) / LANES % ROWS) != counter) {
            end = append_number(append(end, word), counter);
            word = " ";
        }
    return end;
}

static void claim(u32 lives, u32 life, u32 predecessor, u32 generation)
{
    char *end;
    clear(REGION, REGION_BLOCKS * BLOCK);
    if (predecessor != (u32)NOBODY) {
        disk_prepare(0, READ, table_block(lives, predecessor, 0), REGION, REGION_BLOCKS);
        disk_run(1);
    }
    end = append_predecessor(compose(page(0), "claim", generation, 0), predecessor);
    finish(page(0), append_sight(end));
    disk_prepare(0, WRITE, life, page(0), 1);
    disk_run(1);
    serial(page(0));
}

static void write_burst(u32 lives, u32 life, u32 generation, u32 burst)
{
    for (u32 lane = 0; lane < LANES; lane++) {
        u32 table = table_block(lives, life, lane);
        finish(page(lane), compose(page(lane), "write", generation, burst * LANES + lane + 1));
        disk_prepare(2 * lane, WRITE, table + JOURNAL + burst % ROWS, page(lane), 1);
        disk_prepare(2 * lane + 1, WRITE, table, page(lane), 1);
    }
    disk_run(2 * LANES);
    serial(page(LANES - 1));
}

void guest_main(void)
{
    u32 blocks, lives, life, predecessor, generation, next_tick;

    machine_start();
    host_file("opt/leasefence/host", HOST, 64);
    host_file("opt/leasefence/boot", BOOT, 9);
    read_clock();
    blocks = disk_open();
    lives = blocks / (1 + REGION_BLOCKS) < MOST_LIVES ? blocks / (1 + REGION_BLOCKS) : MOST_LIVES;

    disk_prepare(0, READ, 0, CLAIMS, lives);
    disk_run(1);
    predecessor = find_predecessor(lives);
    generation = generation_of(predecessor) + 1;
    life = draw_claim(lives);
    if (predecessor != (u32)NOBODY)
        seal(lives, predecessor, generation);
    claim(lives, life, predecessor, generation);

    next_tick = TICKS;
    for (u32 burst = 0;; burst++) {
        read_clock();
        write_burst(lives, life, generation, burst);
        next_tick += PERIOD_TICKS;
        if ((int)(next_tick - TICKS) < 0)
            next_tick = TICKS; /* after a stall it goes on at its pace, and does not catch up */
        sleep_until(next_tick);
    }
}
