#include "helper/cause.c"
#include "t/lib/tap.h"
#include <apr_general.h>

#define EXIT(code)   ((code) << 8)
#define KILLED(sig)  (sig)
#define EARLY        " before it was ready"
#define LATE         "spawn.timeout: the application was not ready after 9 seconds (PassengerStartTimeout)"

static void ends(apr_pool_t *p)
{
#define LOADER .kind = "python", .greeted = 1
    static const struct {
        hp_cause_facts_t facts;
        int status;
        const char *sentence;
    } cases[] = {
        {{LOADER, .error = "a.py, line 1: it is wrong.\n\nTraceback", .words = "more"}, EXIT(1), "a.py, line 1: it is wrong."},
        {{LOADER, .words = "one\n  the last  \n\n"}, EXIT(1), "the application exited with code 1" EARLY "; it said last: the last"},
        {{LOADER, .words = "one\n", .words_cut = 1}, EXIT(1), "the application exited with code 1" EARLY},
        {{LOADER, .words = "one\n"}, KILLED(11), "the application was ended by signal 11 (Segmentation fault)" EARLY},
        {{LOADER}, EXIT(127), "the application exited with code 127" EARLY},
        {{.kind = "nodejs", .greeted = 1}, EXIT(0), "the application exited with code 0" EARLY "; it must call listen() on an http.Server"},
        {{.kind = "generic", .greeted = 1},
         EXIT(126),
         "the application exited with code 126" EARLY ", because its command may not be executed"},
        {{.kind = "python", .interpreter = "/bin/ls", .words = "loader.py\n"},
         EXIT(0),
         "the interpreter /bin/ls exited with code 0 before it ran the loader: it is none for this kind of application (python), or broken; "
         "it said last: loader.py"},
        {{.kind = "python", .words = "no quota"},
         EXIT(3),
         "the login shell of the application's user exited with code 3 before it ran the application: correct that user's profile, or set "
         "PassengerLoadShellEnvvars off; it said last: no quota"},
    };
    char wide[801];
    hp_cause_facts_t facts = {.kind = "python", .greeted = 1, .words = wide};

    for (apr_size_t i = 0; i < AG_LEN(cases); i++)
        is_str(hp_cause_of_end(&cases[i].facts, cases[i].status, p), cases[i].sentence, "end %d", (int)i);
    for (int i = 0; i < 400; i++)
        memcpy(wide + 2 * i, "\xc3\xa4", 2);
    wide[800] = '\0';
    is_int((int)strlen(strstr(hp_cause_of_end(&facts, EXIT(1), p), "last: ") + 6), QUOTE_MAX, "a long line is cut between two characters");
    wide[0] = ' ';
    wide[1] = 'x';
    is_int((int)strlen(strstr(hp_cause_of_end(&facts, EXIT(1), p), "last: ") + 6), QUOTE_MAX - 1, "... wherever they begin");
}

static void timeouts(apr_pool_t *p)
{
    static const char words[] = "File \"/srv/shop/before.py\", line 9 in x\n"
                                "Thread 0x1 (most recent call first):\n  File \"/srv/shop/worker.py\", line 1 in work\n\n"
                                "Current thread 0x2 (most recent call first):\n  File \"/usr/lib/python3/socket.py\", line 7 in connect\n"
                                "  File \"/srv/shop/db.py\", line 3 in wait\n  File \"/srv/shop/app.py\", line 1 in <module>\n";
    static const char ruby[] = "#<Thread:0x1 run> (main)\n    /usr/lib/ruby/net.rb:1:in `open'\n    /srv/shop/config.ru:2:in `wait'\n";
    hp_cause_facts_t facts = {.kind = "python", .app_root = "/srv/shop", .interpreter = "/usr/bin/python3", .greeted = 1,
                              .words = words, .asked = 1, .stacks = 41};

    is_str(hp_cause_of_timeout(&facts, 9, p), LATE ": it was at File \"/srv/shop/db.py\", line 3 in wait",
           "the innermost call of its own, in its first thread");
    facts.words = ruby;
    facts.stacks = 0;
    is_str(hp_cause_of_timeout(&facts, 9, p), LATE ": it was at /srv/shop/config.ru:2:in `wait'", "... as Ruby writes it");
    facts.app_root = "/srv/other";
    is_str(hp_cause_of_timeout(&facts, 9, p), LATE, "none of its own");
    facts = (hp_cause_facts_t){.kind = "generic", .app_root = "/srv/shop", .greeted = 1, .words = "listening on 3000\n"};
    is_str(hp_cause_of_timeout(&facts, 9, p),
           LATE "; it must stay in the foreground and listen on $PORT, or at $PASSENGER_SOCKET; it said last: listening on 3000",
           "one that cannot be asked");
}

static void details(apr_pool_t *p)
{
    is_str(hp_cause_details(NULL, NULL, p), NULL, "nothing");
    is_str(hp_cause_details(NULL, "bye\n", p), "bye\n", "what it printed");
    is_str(hp_cause_details("It failed.\n", NULL, p), "It failed.\n", "its loader's message");
    is_str(hp_cause_details("It failed.\n", "bye\n", p), "It failed.\n\nIt had printed:\nbye\n", "... and what it printed");
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    ends(p);
    timeouts(p);
    details(p);
    apr_pool_destroy(p);
    return done_testing();
}
