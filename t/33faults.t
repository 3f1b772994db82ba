# The fault matrix: what can go wrong, and which tests make it go wrong. A row's number stands in the comments of its tests.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use Harness;

my @rows = (
    # The helper, and who guards it.
    ['F01', 'the core is killed while idle',                      '33faults-helper core_killed'],
    ['F02', 'the core is killed with requests in it',             '33faults-helper core_killed_busy', '36requests undelivered'],
    ['F03', 'the core is killed again and again under load',      '82soak'],
    ['F04', 'the core dies as soon as it is started',             '33faults-helper core_flaps'],
    ['F05', 'the core is stopped for a moment, or for ever',      '33faults-helper core_stopped', '33faults-helper core_hangs'],
    ['F07', 'the core crashes',                                   '33faults-helper core_killed'],
    ['F08', 'the watchdog is killed, or stopped',                 '33faults-helper watchdog_killed', '33faults-helper watchdog_stopped'],
    ['F09', 'both are killed',                                    '33faults-helper both_killed'],
    ['F10', "Apache's parent is killed, or stopped",              '33faults-helper parent_killed', '33faults-helper parent_stopped'],
    ['F11', 'another version is installed, then a reload',        '30lifetimes upgrade'],
    ['F12', 'many reloads',                                       '33faults-apache memory'],
    ['F13', 'signals of an operator',                             '33faults-helper signals'],
    # Starts.
    ['F14', 'a startup file that is missing or broken',           '31pool failures'],
    ['F15', 'a start that prints without end',                    '31pool failures', '33faults-spawn loaders'],
    ['F16', 'the system can start no process',                    '33faults-spawn limits', '33faults-spawn system_faults'],
    ['F17', 'a start that never ends',                            '31pool slow_start', '33faults-spawn loaders'],
    ['F18', 'a loader that talks nonsense',                       '33faults-spawn loaders'],
    ['F19', 'a restart during a start; many first starts at once', '34restarts deploy', '33faults-spawn together'],
    ['F19', 'a preloader that dies, hangs, lies, or dies whenever it forks', '46smart crash', '46smart liars', '46preloader'],
    # Applications at work.
    ['F20', 'killed while idle',                                  '33faults-app killed'],
    ['F21', 'killed in a request, in the head, in the body',      '33faults-app killed'],
    ['F24', 'ended by itself, idle or in a request',              '33faults-app killed'],
    ['F25', 'hanging in a request, or stopped',                   '36requests stuck_app', '33faults-app stopped'],
    ['F26', 'hanging in all of its processes',                    '36requests stuck', '31pool queue'],
    ['F27', 'taking no connections any more',                     '33faults-app sockets', '33faults-spawn loaders'],
    ['F28', 'closing its output, or filling it',                  '33faults-app output'],
    ['F29', 'answering with garbage',                             '20request'],
    ['F30', 'answering before it was asked, or twice',            '33faults-app sockets'],
    ['F31', 'eating memory',                                      '34restarts memory'],
    ['F32', 'forking, daemonising, leaving its session',          '33faults-app strangers', '54strays'],
    ['F33', 'not wanting to end; ending at its limit of requests', '33faults-app ends', '34restarts recycle'],
    # Resources.
    ['F34', 'the disk for bodies is full',                        '36requests disk_full', '26bodies room'],
    ['F35', 'no descriptors are left',                            '35descriptors core', '35descriptors watchdog', '36requests few_descriptors'],
    ['F38', 'somebody removes the instance directory',            '30lifetimes directory'],
    ['F39', 'the clock jumps; the log is full or not read; a file system hangs; a machine that went down left things behind',
        '33faults-spawn system_faults', '33faults-apache log_fifo', '52looker hanging', '33faults-helper leftovers'],
    # Apache and clients.
    ['F40', 'reloads under load and during long requests',        '33faults-apache graceful_busy', '30lifetimes kept'],
    ['F42', 'a graceful stop with a long request',                '33faults-apache graceful_stop'],
    ['F43', 'a stop with requests in flight',                     '33faults-apache stop'],
    ['F44', 'two reloads, a broken one, one without the application', '33faults-apache twice', '33faults-apache broken_config', '33faults-apache removed'],
    ['F45', 'a child of Apache is killed, or stopped',            '33faults-apache child_killed', '33faults-apache child_stopped'],
    ['F46', 'children of Apache are recycled',                    '33faults-apache recycled'],
    ['F47', 'clients leave, at any time',                         '33faults-apache clients', '38load gone', '26bodies leaving'],
    ['F48', 'clients that send or read slowly',                   '26bodies senders', '26bodies readers'],
);

for my $row (@rows) {
    my ($number, $fault, @tests) = @$row;
    my @missing = grep { my ($file, $sub) = split; my $text = slurp("t/$file.t"); !length $text || ($sub && $text !~ /^sub $sub\b/m) } @tests;
    ok !@missing, "$number $fault" or diag map { "  $_ is not there\n" } @missing;
}
done_testing;
