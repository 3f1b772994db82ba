#include "helper/php.c"
#include "t/lib/tap.h"
#include <stdlib.h>
#include <sys/stat.h>

static int may(const char *startup, const char *pairs, apr_size_t len)
{
    hp_spec_t spec = {.kind = "php", .app_root = "/srv/app", .startup_file = startup};

    return hp_php_may_run(&spec, pairs, len);
}

#define MAY(startup, pairs) may(startup, pairs, sizeof(pairs))

static void scripts(void)
{
    static const char index[] = "/srv/app/public/index.php";

    is_int(MAY(index, "A\0b\0SCRIPT_FILENAME\0/srv/app/public/index.php"), 1, "the front controller");
    is_int(MAY(index, "SCRIPT_FILENAME\0/srv/app/public/a/b.PHP"), 1, "a script below its folder");
    is_int(MAY(index, "SCRIPT_FILENAME\0/srv/app/public/x.phtml"), 1, "... of another name");
    is_int(MAY("/srv/app/main", "SCRIPT_FILENAME\0/srv/app/main"), 1, "a startup file, whatever its name");
    is_int(MAY(index, "A\0b"), 0, "none");
    is_int(MAY(index, "SCRIPT_FILENAME\0"), 0, "an empty name");
    is_int(MAY(index, "SCRIPT_FILENAME\0/srv/app/public/photo.jpg"), 0, "no script's name");
    is_int(MAY(index, "SCRIPT_FILENAME\0/srv/app/publicity/x.php"), 0, "a folder that begins alike");
    is_int(MAY(index, "SCRIPT_FILENAME\0/srv/app/x.php"), 0, "outside the public folder");
    is_int(MAY(index, "SCRIPT_FILENAME\0/srv/app/public/../x.php"), 0, "climbing");
    is_int(MAY(index, "SCRIPT_FILENAME\0/tmp/x.php"), 0, "elsewhere");
    is_int(MAY(index, "SCRIPT_FILENAME\0/tmp/x.php\0SCRIPT_FILENAME\0/srv/app/public/index.php"), 0, "two, the first wrong");
    is_int(MAY(index, "SCRIPT_FILENAME\0/srv/app/public/index.php\0SCRIPT_FILENAME\0/tmp/x.php"), 0, "two, the second wrong");
    is_int(MAY("index.php", "SCRIPT_FILENAME\0/index.php"), 0, "a startup file without a folder");
}

static void touch(const char *dir, const char *name, apr_pool_t *p)
{
    int fd = open(apr_pstrcat(p, dir, "/", name, NULL), O_WRONLY | O_CREAT, 0755);

    close(fd);
}

static void programs(apr_pool_t *p)
{
    static const char *const names[] = {"php-fpm7.4", "php-fpm-helper", "php-fpm8.10", "php-fpm8.2", "php-cgi7.4", "php-cgi"};
    char template[] = "/tmp/unit-XXXXXX", *dir = mkdtemp(template);
    const char *path = apr_pstrcat(p, "/nowhere:", dir, NULL);

    is_str(hp_php_find(path, p), NULL, "no PHP");
    touch(dir, "php-fpm7.4", p);
    touch(dir, "php-fpm-helper", p);
    touch(dir, "php-fpm8.10", p);
    touch(dir, "php-fpm8.2", p);
    is_str(hp_php_find(path, p), apr_pstrcat(p, dir, "/php-fpm8.10", NULL), "the newest php-fpm");
    touch(dir, "php-cgi7.4", p);
    is_str(hp_php_find(path, p), apr_pstrcat(p, dir, "/php-cgi7.4", NULL), "a php-cgi is preferred");
    touch(dir, "php-cgi", p);
    is_str(hp_php_find(path, p), apr_pstrcat(p, dir, "/php-cgi", NULL), "the one without a version more so");
    for (apr_size_t i = 0; i < AG_LEN(names); i++)
        unlink(apr_pstrcat(p, dir, "/", names[i], NULL));
    is_int(rmdir(dir), 0, "nothing is left");
}

int main(void)
{
    apr_pool_t *p;

    apr_initialize();
    apr_pool_create(&p, NULL);
    scripts();
    programs(p);
    apr_pool_destroy(p);
    apr_terminate();
    return done_testing();
}
