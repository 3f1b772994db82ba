#include "apr-glue/marks.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* Linux 5.1; the C library may be older */
#endif

#define SIZE  (AG_MARKS_SLOTS * sizeof(ag_marks_slot_t))
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE)

apr_status_t ag_marks_create(ag_marks_t *marks)
{
    int fd = memfd_create("marks", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *memory = MAP_FAILED;
    apr_status_t rv;

    if (fd >= 0 && ftruncate(fd, SIZE) == 0)
        memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory != MAP_FAILED && fcntl(fd, F_ADD_SEALS, SEALS) == 0) {
        memset(marks, 0, sizeof *marks);
        marks->slots = memory;
        marks->fd = fd;
        return APR_SUCCESS;
    }
    rv = errno;
    if (memory != MAP_FAILED)
        munmap(memory, SIZE);
    if (fd >= 0)
        close(fd);
    return rv;
}

int ag_marks_take(ag_marks_t *marks, uint64_t *pserial)
{
    int slot = marks->next;

    if (marks->taken == AG_MARKS_SLOTS)
        return -1;
    /* Round and round: a word stays readable for as long as possible after its link. */
    while (marks->used[slot / 8] & 1 << slot % 8)
        slot = (slot + 1) % AG_MARKS_SLOTS;
    marks->used[slot / 8] |= (unsigned char)(1 << slot % 8);
    marks->next = (slot + 1) % AG_MARKS_SLOTS;
    marks->taken++;
    *pserial = ++marks->serial;
    ag_marks_set(marks, slot, *pserial, 0);
    return slot;
}

void ag_marks_give(ag_marks_t *marks, int slot)
{
    assert(marks->taken > 0 && marks->used[slot / 8] & 1 << slot % 8);
    marks->used[slot / 8] &= (unsigned char)~(1 << slot % 8);
    marks->taken--;
}

void ag_marks_set(ag_marks_t *marks, int slot, uint64_t serial, int delivered)
{
    assert(slot >= 0 && slot < AG_MARKS_SLOTS);
    __atomic_store_n(&marks->slots[slot].word, serial << 1 | (delivered != 0), __ATOMIC_SEQ_CST);
}

void ag_marks_tell(ag_marks_t *marks, int slot, const ag_marks_told_t *told)
{
    ag_marks_told_t *to = &marks->slots[slot].told;

    assert(slot >= 0 && slot < AG_MARKS_SLOTS);
    __atomic_store_n(&to->pid, told->pid, __ATOMIC_RELAXED);
    __atomic_store_n(&to->attempts, told->attempts, __ATOMIC_RELAXED);
    __atomic_store_n(&to->waited, told->waited, __ATOMIC_RELAXED);
    __atomic_store_n(&to->served, told->served, __ATOMIC_RELEASE);
}

apr_status_t ag_marks_map(ag_marks_t *marks, int fd)
{
    struct stat st;
    void *memory;

    if ((fcntl(fd, F_GET_SEALS) & SEALS) != SEALS || fstat(fd, &st) || st.st_size != SIZE)
        return APR_EGENERAL;
    memory = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return errno;
    memset(marks, 0, sizeof *marks);
    marks->slots = memory;
    marks->fd = -1;
    return APR_SUCCESS;
}

void ag_marks_unmap(ag_marks_t *marks)
{
    munmap(marks->slots, SIZE);
    marks->slots = NULL;
}

int ag_marks_undelivered(const ag_marks_t *marks, int slot, uint64_t serial)
{
    return slot >= 0 && slot < AG_MARKS_SLOTS && __atomic_load_n(&marks->slots[slot].word, __ATOMIC_SEQ_CST) == serial << 1;
}

void ag_marks_told(const ag_marks_t *marks, int slot, ag_marks_told_t *told)
{
    const ag_marks_told_t *from;

    memset(told, 0, sizeof *told);
    if (slot < 0 || slot >= AG_MARKS_SLOTS)
        return;
    from = &marks->slots[slot].told;
    told->served = __atomic_load_n(&from->served, __ATOMIC_ACQUIRE);
    told->waited = __atomic_load_n(&from->waited, __ATOMIC_RELAXED);
    told->attempts = __atomic_load_n(&from->attempts, __ATOMIC_RELAXED);
    told->pid = __atomic_load_n(&from->pid, __ATOMIC_RELAXED);
}
