#include "apr-glue/marks.c"
#include "t/lib/tap.h"

int main(void)
{
    static ag_marks_t marks, reader, other;
    const ag_marks_told_t words = {.pid = 7, .attempts = 2, .waited = 5000000000, .served = 3};
    ag_marks_told_t told;
    uint64_t one, two, serial;
    int a, b, plain;

    if (ag_marks_create(&marks) != APR_SUCCESS) {
        ok(1, "this kernel has no such memory");
        return done_testing();
    }
    is_int(ag_marks_map(&reader, marks.fd), APR_SUCCESS, "a reader");
    a = ag_marks_take(&marks, &one);
    b = ag_marks_take(&marks, &two);
    ok(a >= 0 && b >= 0 && a != b && one != two, "two slots");
    ok(ag_marks_undelivered(&reader, a, one) && ag_marks_undelivered(&reader, b, two), "... of which nothing was delivered");
    ag_marks_set(&marks, a, one, 1);
    ok(!ag_marks_undelivered(&reader, a, one), "what was delivered is seen");
    ok(ag_marks_undelivered(&reader, b, two), "... of that slot alone");
    ok(!ag_marks_undelivered(&reader, b, one) && !ag_marks_undelivered(&reader, -1, one) && !ag_marks_undelivered(&reader, AG_MARKS_SLOTS, one),
       "... and of no other user");
    ag_marks_set(&marks, a, one, 0);
    ok(ag_marks_undelivered(&reader, a, one), "the next request");
    ag_marks_told(&reader, a, &told);
    ok(told.pid == 0 && told.attempts == 0 && told.waited == 0 && told.served == 0, "of which nothing was told");
    ag_marks_tell(&marks, a, &words);
    ag_marks_told(&reader, a, &told);
    ok(told.pid == 7 && told.attempts == 2 && told.waited == 5000000000 && told.served == 3, "what is told is read");
    ok(ag_marks_undelivered(&reader, a, one), "... and changes nothing else");
    ag_marks_told(&reader, b, &told);
    ok(told.pid == 0 && told.waited == 0, "... nor of another slot");
    ag_marks_told(&reader, AG_MARKS_SLOTS, &told);
    ok(told.pid == 0, "a slot that there can't be: above");
    ag_marks_told(&reader, -1, &told);
    ok(told.pid == 0, "... below");
    ag_marks_give(&marks, a);
    for (int i = 0; i < AG_MARKS_SLOTS - 1; i++)
        a = ag_marks_take(&marks, &serial);
    is_int(ag_marks_take(&marks, &serial), -1, "all are taken");
    ag_marks_give(&marks, a);
    is_int(ag_marks_take(&marks, &serial), a, "... and one is free again");
    ok(!ag_marks_undelivered(&reader, a, one), "... with another serial");

    ok(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, marks.fd, 0) == MAP_FAILED, "nobody else can write: map");
    ok(pwrite(marks.fd, "x", 1, 0) < 0, "... write");
    ok(ftruncate(marks.fd, 0) < 0 && ftruncate(marks.fd, 2 * SIZE) < 0, "... cut or grow");
    plain = memfd_create("plain", MFD_ALLOW_SEALING);
    is_int(ftruncate(plain, SIZE), 0, "memory of that size");
    is_int(ag_marks_map(&other, plain), APR_EGENERAL, "... that can be changed is refused");
    is_int(ag_marks_map(&other, 0), APR_EGENERAL, "... and what is no memory");
    ag_marks_unmap(&reader);
    return done_testing();
}
