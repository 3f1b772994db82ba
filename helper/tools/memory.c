/* passenger-memory-stats: the memory of Apache's processes and of what runs below our watchdogs, as the kernel tells it. */
#include "helper/tools/client.h"
#include "apr-glue/procfile.h"
#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_time.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMM_MAX 15 /* bytes of a program's name that the kernel keeps */
#define NAME_MAX_SHOWN 4095

static const char usage[] =
    "Usage: passenger-memory-stats [OPTIONS]\n"
    "Shows the memory of Apache's and nginx's processes, of mod_passenger's helpers, and of all that applications have started.\n"
    "Private is what a process has written and shares with none. Root sees it of all, others of their own processes.\n"
    "\n"
    "      --no-apache, --no-nginx   leaves that part out\n"
    "      --force-colors            accepted; nothing is coloured\n"
    "  -h, --help                    this text\n"
    "\n"
    "HTTPD in the environment names Apache's program, if it is neither apache2 nor httpd.\n";

typedef enum { KIND_OTHER, KIND_APACHE, KIND_NGINX, KIND_OURS } kind_t;

typedef struct {
    long pid, parent;
    double size, private; /* MiB; private < 0: the kernel does not tell us */
    kind_t kind;
    char comm[COMM_MAX + 1];
    const char *name;
} entry_t;

/* -- what the kernel tells -- */

/* proc(5). 0 if it is gone, or a zombie. */
static int read_stat(entry_t *entry)
{
    char text[1024], state, *begin, *end;
    unsigned long size;

    if (ag_procfile_of(text, sizeof text, (pid_t)entry->pid, "stat") < 0)
        return 0;
    begin = strchr(text, '(');
    end = strrchr(text, ')'); /* the name between them may hold anything */
    if (!begin || !end || end < begin ||
        sscanf(end + 1, " %c %ld %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %*u %lu", &state, &entry->parent, &size) != 3)
        return 0;
    *end = '\0';
    apr_cpystrn(entry->comm, begin + 1, sizeof entry->comm);
    entry->size = (double)size / (1 << 20);
    return state != 'Z' && state != 'X';
}

/* The command line in one line; some programs write a title of their own there, and fill up what is left. */
static const char *read_name(apr_pool_t *p, const entry_t *entry)
{
    char text[NAME_MAX_SHOWN + 1];
    long n = ag_procfile_of(text, sizeof text, (pid_t)entry->pid, "cmdline");

    while (n > 0 && (text[n - 1] == '\0' || text[n - 1] == ' '))
        n--;
    for (long i = 0; i < n; i++)
        text[i] = text[i] == '\0' ? ' ' : apr_iscntrl(text[i]) ? '?' : text[i];
    return n > 0 ? apr_pstrmemdup(p, text, (apr_size_t)n) : apr_psprintf(p, "[%s]", entry->comm);
}

/* MiB, or -1 if that is not for us to know. 0: the process has no memory any more, *pgone is 1. */
static double read_private(long pid, int *pgone)
{
    char text[4096], *at;

    errno = 0;
    if (ag_procfile_of(text, sizeof text, (pid_t)pid, "smaps_rollup") <= 0 && (errno == EACCES || errno == EPERM))
        return -1;
    at = strstr(text, "\nPrivate_Dirty:");
    *pgone = !at;
    return at ? strtod(at + strlen("\nPrivate_Dirty:"), NULL) / 1024 : 0;
}

/* -- which processes -- */

static int is_watchdog(const entry_t *entry)
{
    char text[NAME_MAX_SHOWN + 1];
    long n;

    if (strncmp(entry->comm, "passenger-helper", COMM_MAX) != 0)
        return 0;
    n = ag_procfile_of(text, sizeof text, (pid_t)entry->pid, "cmdline");
    return n > 0 && (long)strlen(text) + 1 < n && strcmp(text + strlen(text) + 1, "watchdog") == 0;
}

static kind_t kind_of(const entry_t *entry)
{
    const char *httpd = getenv("HTTPD");

    if (strcmp(entry->comm, "nginx") == 0)
        return KIND_NGINX;
    if (strcmp(entry->comm, "apache2") == 0 || strcmp(entry->comm, "httpd") == 0 ||
        (httpd && *httpd && strncmp(entry->comm, apr_filepath_name_get(httpd), COMM_MAX) == 0))
        return KIND_APACHE;
    return is_watchdog(entry) ? KIND_OURS : KIND_OTHER;
}

static int by_pid(const void *a, const void *b)
{
    const entry_t *one = a, *two = b;

    return (one->pid > two->pid) - (one->pid < two->pid);
}

static const entry_t *find(const apr_array_header_t *all, long pid)
{
    const entry_t key = {.pid = pid};

    return bsearch(&key, all->elts, (size_t)all->nelts, sizeof key, by_pid);
}

/* What descends from a watchdog is an application's, or its core. */
static int below_watchdog(const apr_array_header_t *all, const entry_t *entry)
{
    for (int steps = 0; entry && steps < all->nelts; steps++) {
        if (entry->kind == KIND_OURS)
            return 1;
        entry = find(all, entry->parent);
    }
    return 0;
}

static apr_array_header_t *read_all(apr_pool_t *p)
{
    apr_array_header_t *all = apr_array_make(p, 512, sizeof(entry_t));
    DIR *d = opendir("/proc");
    struct dirent *file;

    while (d && (file = readdir(d))) {
        entry_t entry = {.pid = strtol(file->d_name, NULL, 10)};
        if (entry.pid < 1 || !read_stat(&entry))
            continue;
        entry.kind = kind_of(&entry);
        APR_ARRAY_PUSH(all, entry_t) = entry;
    }
    if (d)
        closedir(d);
    qsort(all->elts, (size_t)all->nelts, sizeof(entry_t), by_pid);
    for (int i = 0; i < all->nelts; i++) {
        entry_t *entry = &APR_ARRAY_IDX(all, i, entry_t);
        int gone = 0;
        if (below_watchdog(all, entry))
            entry->kind = KIND_OURS;
        if (entry->kind == KIND_OTHER)
            continue;
        entry->name = read_name(p, entry);
        entry->private = read_private(entry->pid, &gone);
        entry->kind = gone ? KIND_OTHER : entry->kind;
    }
    return all;
}

/* -- the tables -- */

enum { COLUMNS = 5, PPID = 1 };

static void dashes(int n)
{
    while (n-- > 0)
        putchar('-');
}

/* A line of cells, without the blanks that would end it. */
static void put_row(const char *const *cells, const int *widths)
{
    for (int i = 0; i < COLUMNS - 1; i++) {
        if (widths[i] > 0)
            printf("%-*s  ", widths[i], cells[i]);
    }
    printf("%s\n", cells[COLUMNS - 1]);
}

static void put_title(const char *title, int width)
{
    int free = width - (int)strlen(title) - 2, left = free > 0 ? free / 2 : 3;

    dashes(left);
    printf(" %s ", title);
    dashes(free > 0 ? free - left : 3);
    putchar('\n');
}

/* Cells of a row; returns how much of it is private. */
static double cells_of(apr_pool_t *p, const entry_t *entry, const char **cells)
{
    cells[0] = apr_ltoa(p, entry->pid);
    cells[PPID] = apr_ltoa(p, entry->parent);
    cells[2] = apr_psprintf(p, "%.1f MB", entry->size);
    cells[3] = entry->private < 0 ? "?" : apr_psprintf(p, "%.1f MB", entry->private);
    cells[4] = entry->name;
    return entry->private;
}

/* Returns the number of those whose private memory is not known. */
static int show(apr_pool_t *p, const apr_array_header_t *all, kind_t kind, const char *title)
{
    static const char *const head[COLUMNS] = {"PID", "PPID", "VMSize", "Private", "Name"};
    apr_array_header_t *rows = apr_array_make(p, 64, sizeof(const char *[COLUMNS]));
    int widths[COLUMNS] = {3, 4, 6, 7, 4}, width = 1, unknown = 0;
    double total = 0, private;

    for (int i = 0; i < all->nelts; i++) {
        const entry_t *entry = &APR_ARRAY_IDX(all, i, entry_t);
        const char **cells;
        if (entry->kind != kind)
            continue;
        cells = apr_array_push(rows);
        private = cells_of(p, entry, cells);
        total += private < 0 ? 0 : private;
        unknown += private < 0;
        for (int k = 0; k < COLUMNS - 1; k++)
            widths[k] = (int)strlen(cells[k]) > widths[k] ? (int)strlen(cells[k]) : widths[k];
    }
    if (kind == KIND_OURS)
        widths[PPID] = 0; /* its processes belong to applications, not to each other */
    for (int k = 0; k < COLUMNS; k++)
        width += widths[k] + (widths[k] > 0 && k < COLUMNS - 1 ? 2 : 0);
    put_title(title, width);
    if (rows->nelts > 0) {
        put_row(head, widths);
        dashes(width);
    }
    putchar('\n');
    for (int i = 0; i < rows->nelts; i++)
        put_row((const char *const *)(void *)rows->elts + i * COLUMNS, widths);
    printf("### Processes: %d\n### Total private dirty RSS: %.2f MB%s\n", rows->nelts, total, unknown ? " (?)" : "");
    return unknown;
}

static int run(const hp_client_t *client, int argc, const char **argv)
{
    int no_apache = 0, no_nginx = 0, unknown = 0;
    const hp_client_option_t options[] = {{"no-apache", 0, NULL, &no_apache}, {"no-nginx", 0, NULL, &no_nginx}, {"force-colors", 0, NULL, NULL},
                                          {NULL, 0, NULL, NULL}};
    const apr_array_header_t *all;
    apr_time_exp_t now;
    apr_size_t len;
    char date[64];

    if (!hp_client_options(client, options, usage, &argc, argv))
        return argc;
    if (argc > 0)
        return hp_client_fail(client, HP_CLIENT_FAILED, "it takes options only, not \"%s\"", argv[0]);
    all = read_all(client->p);
    if (all->nelts == 0)
        return hp_client_fail(client, HP_CLIENT_FAILED, "/proc cannot be read");
    apr_time_exp_lt(&now, apr_time_now());
    apr_strftime(date, &len, sizeof date, "%Y-%m-%d %H:%M:%S %z", &now);
    printf("Version: " AG_VERSION "\nDate   : %s\n\n", date);
    if (!no_apache)
        unknown += show(client->p, all, KIND_APACHE, "Apache processes");
    if (!no_nginx) {
        fputs(no_apache ? "" : "\n\n", stdout);
        unknown += show(client->p, all, KIND_NGINX, "Nginx processes");
    }
    fputs(no_apache && no_nginx ? "" : "\n\n", stdout);
    unknown += show(client->p, all, KIND_OURS, "Passenger processes");
    return unknown ? hp_client_fail(client, HP_CLIENT_DONE, "the private memory of %d processes is root's to see", unknown) : HP_CLIENT_DONE;
}

int main(int argc, const char **argv)
{
    hp_client_t client;

    hp_client_init(&client, "passenger-memory-stats");
    return hp_client_finish(&client, run(&client, argc, argv));
}
